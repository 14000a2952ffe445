package listeners

import (
	"cmp"
	"net/netip"
	"slices"
)

// Clients counts clients by their address. The zero value is ready to use; a flood of made-up addresses does not make it grow
// without end.
type Clients struct {
	count  map[netip.Addr]uint64
	Others uint64 // of those that found no room
}

// maxClients bounds how many different ones are counted.
const maxClients = 4096

// Client is one of them.
type Client struct {
	Addr  netip.Addr
	Count uint64
}

// Add counts a client.
func (c *Clients) Add(client netip.Addr) {
	if c.count == nil {
		c.count = make(map[netip.Addr]uint64)
	}
	if _, known := c.count[client]; !known && len(c.count) >= maxClients {
		c.Others++
		return
	}
	c.count[client]++
}

// Different is how many addresses were counted.
func (c *Clients) Different() int { return len(c.count) }

// Top are the n that were counted the most often.
func (c *Clients) Top(n int) []Client {
	all := make([]Client, 0, len(c.count))
	for addr, count := range c.count {
		all = append(all, Client{addr, count})
	}
	slices.SortFunc(all, func(a, b Client) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), a.Addr.Compare(b.Addr))
	})
	return all[:min(n, len(all))]
}
