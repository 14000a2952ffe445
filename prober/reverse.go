package prober

import (
	"context"
	"net/netip"
	"strings"
)

// ReverseName is the name that DNS has for an address (its PTR record), without the final dot; empty when there is none,
// or none in time. The name comes from whoever owns the address: it is not to be trusted, nor to be printed as it is.
func (r *Resolver) ReverseName(ctx context.Context, addr netip.Addr) string {
	names, err := r.resolver().LookupAddr(ctx, addr.Unmap().WithZone("").String())
	if err != nil || len(names) == 0 {
		return ""
	}
	return strings.TrimSuffix(names[0], ".")
}
