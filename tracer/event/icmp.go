package event

import "fmt"

// icmpKind is what a type and code stand for: ICMP and ICMPv6 number differently.
type icmpKind struct {
	v6   bool
	typ  int
	code int
}

// icmpNames names the errors of include/uapi/linux/icmp.h and icmpv6.h.
var icmpNames = map[icmpKind]string{
	{false, 3, 0}:  "network unreachable",
	{false, 3, 1}:  "host unreachable",
	{false, 3, 2}:  "protocol unreachable",
	{false, 3, 3}:  "port unreachable",
	{false, 3, 4}:  "fragmentation needed",
	{false, 3, 5}:  "source route failed",
	{false, 3, 6}:  "network unknown",
	{false, 3, 7}:  "host unknown",
	{false, 3, 8}:  "source host isolated",
	{false, 3, 9}:  "network administratively prohibited",
	{false, 3, 10}: "host administratively prohibited",
	{false, 3, 11}: "network unreachable for this type of service",
	{false, 3, 12}: "host unreachable for this type of service",
	{false, 3, 13}: "communication administratively prohibited",
	{false, 3, 14}: "host precedence violation",
	{false, 3, 15}: "precedence cutoff in effect",
	{false, 4, 0}:  "source quench",
	{false, 11, 0}: "time to live exceeded in transit",
	{false, 11, 1}: "fragment reassembly time exceeded",
	{false, 12, 0}: "parameter problem",
	{false, 12, 1}: "required option missing",
	{false, 12, 2}: "bad length",

	{true, 1, 0}: "no route to destination",
	{true, 1, 1}: "communication administratively prohibited",
	{true, 1, 2}: "beyond scope of source address",
	{true, 1, 3}: "address unreachable",
	{true, 1, 4}: "port unreachable",
	{true, 1, 5}: "source address failed policy",
	{true, 1, 6}: "reject route to destination",
	{true, 2, 0}: "packet too big",
	{true, 3, 0}: "hop limit exceeded in transit",
	{true, 3, 1}: "fragment reassembly time exceeded",
	{true, 4, 0}: "erroneous header field",
	{true, 4, 1}: "unrecognized next header",
	{true, 4, 2}: "unrecognized option",
}

// ICMPName says in words what an ICMP error is, or an ICMPv6 error when v6 is true. One without a name gets its
// numbers.
func ICMPName(v6 bool, typ, code int) string {
	if name, ok := icmpNames[icmpKind{v6, typ, code}]; ok {
		return name
	}
	if v6 {
		return fmt.Sprintf("icmpv6 type %d code %d", typ, code)
	}
	return fmt.Sprintf("icmp type %d code %d", typ, code)
}
