package lab

import (
	"context"
	"net/netip"
	"slices"

	"tcptrace/prober"
)

// labs are the labs there are, by topic. A new one is a row in one of these tables and its build function.
var labs = slices.Concat(connectLabs, localLabs, outputLabs, icmpLabs, handshakeLabs, oldLabs, queueLabs, inputLabs, patienceLabs,
	idleLabs, dataLabs, mtuLabs, unreachableLabs, windowLabs, closeLabs)

// connectLabs are about making connections.
var connectLabs = []Lab{
	{
		Name:    "connected",
		Summary: "The server answers the first SYN: how it looks when nothing is wrong.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443 and accepts connections.",
			"The client connects. Look at how little there is: SYN, SYN-ACK, established.",
		},
		Expect: "connected",
		Build:  buildConnected,
	},
	{
		Name:    "connected-after-retries",
		Summary: "The first two SYNs are lost, the third is answered: a connect that works, but takes seconds.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443, but its firewall drops the first two SYNs.",
			"The client connects. Look at when each SYN is sent again: the delay is the kernel's retry schedule, not the network.",
		},
		Expect: "connected_after_retries",
		Build:  buildConnectedAfterRetries,
	},
	{
		Name:    "name-not-resolved",
		Summary: "The target's name does not exist: no SYN is ever sent.",
		Steps: []string{
			"A client (192.0.2.1) and a DNS server (192.0.2.10) are joined by one link.",
			"The DNS server says for every name that it does not exist (NXDOMAIN).",
			"The client looks up no-such-host.example. Look at what is missing: there is no connection to trace.",
		},
		Expect: "name_not_resolved",
		Build:  buildNameNotResolved,
	},
	{
		Name:    "no-answer",
		Summary: "The server's firewall drops every SYN without a word, until the client's kernel gives up.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443, but its firewall silently drops what comes for that port.",
			"The client connects, with TCP_SYNCNT 2 so that its kernel gives up after 7 seconds instead of more than 2 minutes.",
			"Look at the SYNs: each is sent again when it is due, nothing comes back, and the end is ETIMEDOUT.",
		},
		Expect: "no_answer",
		Build:  buildNoAnswer,
	},
	{
		Name:    "refused",
		Summary: "Nothing listens on the port: the server answers the SYN with a reset.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"Nothing listens on the server's port 443.",
			"The client connects. Look at the reset that answers its SYN at once: ECONNREFUSED means that the host is there.",
		},
		Expect: "refused",
		Build:  buildRefused,
	},
	{
		Name:    "v6-blackhole",
		Summary: "A name has an IPv6 and an IPv4 address; IPv6 is silently dropped, IPv4 works.",
		Steps: []string{
			"A client (192.0.2.1, 2001:db8::1) and a server (192.0.2.10, 2001:db8::10) are joined by one link.",
			"A DNS server gives service.example both addresses of the server, which listens on port 443 of both.",
			"The server's firewall silently drops TCP over IPv6.",
			"The client connects to service.example, with TCP_SYNCNT 1 so that IPv6 is given up after 3 seconds.",
			"Look at the two addresses: the name works by IPv4, which hides that IPv6 does not.",
		},
		Expect: "connected",
		Build:  buildV6Blackhole,
	},
}

// The addresses of the labs' one link, all of them from ranges that are reserved for documentation.
var (
	linkV4 = subnet{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.10/24")}
	linkV6 = subnet{netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("2001:db8::10/64")}

	serviceV4 = netip.AddrPortFrom(linkV4.server.Addr(), servicePort)
	serviceV6 = netip.AddrPortFrom(linkV6.server.Addr(), servicePort)
	dnsV4     = netip.AddrPortFrom(linkV4.server.Addr(), 53)
)

// subnet is what a link has of one address family.
type subnet struct{ client, server netip.Prefix }

const servicePort = 443

func buildConnected(ctx context.Context, n *Network) (*Scene, error) {
	client, server, err := clientAndServer(ctx, n, linkV4)
	if err != nil {
		return nil, err
	}
	if err := server.Listen(serviceV4); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{serviceV4.String()}}, nil
}

func buildConnectedAfterRetries(ctx context.Context, n *Network) (*Scene, error) {
	client, server, err := clientAndServer(ctx, n, linkV4)
	if err != nil {
		return nil, err
	}
	if err := server.Listen(serviceV4); err != nil {
		return nil, err
	}
	if _, err := server.DropInput(Drop{Port: servicePort, FirstSYNs: 2}); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{serviceV4.String()}}, nil
}

func buildNameNotResolved(ctx context.Context, n *Network) (*Scene, error) {
	client, server, err := clientAndServer(ctx, n, linkV4)
	if err != nil {
		return nil, err
	}
	if err := server.ServeDNS(dnsV4, nil); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{"no-such-host.example:443"}, DNS: dnsV4}, nil
}

func buildNoAnswer(ctx context.Context, n *Network) (*Scene, error) {
	client, server, err := clientAndServer(ctx, n, linkV4)
	if err != nil {
		return nil, err
	}
	if err := server.Listen(serviceV4); err != nil {
		return nil, err
	}
	if _, err := server.DropInput(Drop{Port: servicePort}); err != nil {
		return nil, err
	}
	options := prober.Options{SYNRetries: 2}
	return &Scene{Client: client, Targets: []string{serviceV4.String()}, Options: options}, nil
}

func buildRefused(ctx context.Context, n *Network) (*Scene, error) {
	client, _, err := clientAndServer(ctx, n, linkV4)
	if err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{serviceV4.String()}}, nil
}

func buildV6Blackhole(ctx context.Context, n *Network) (*Scene, error) {
	client, server, err := clientAndServer(ctx, n, linkV6, linkV4)
	if err != nil {
		return nil, err
	}
	for _, addr := range []netip.AddrPort{serviceV6, serviceV4} {
		if err := server.Listen(addr); err != nil {
			return nil, err
		}
	}
	records := map[string][]netip.Addr{"service.example": {serviceV6.Addr(), serviceV4.Addr()}}
	if err := server.ServeDNS(dnsV4, records); err != nil {
		return nil, err
	}
	// Only TCP: neighbour discovery must go on, or the end would be a different one.
	if _, err := server.DropInput(Drop{Family: IPv6}); err != nil {
		return nil, err
	}
	options := prober.Options{SYNRetries: 1}
	return &Scene{Client: client, Targets: []string{"service.example:443"}, Options: options, DNS: dnsV4}, nil
}

// clientAndServer are two hosts on one link.
func clientAndServer(ctx context.Context, n *Network, link ...subnet) (client, server *Host, err error) {
	client, err = n.AddHost("client")
	if err != nil {
		return nil, nil, err
	}
	server, err = n.AddHost("server")
	if err != nil {
		return nil, nil, err
	}
	a, b := End{Host: client}, End{Host: server}
	for _, subnet := range link {
		a.Addrs, b.Addrs = append(a.Addrs, subnet.client), append(b.Addrs, subnet.server)
	}
	if err := n.Connect(ctx, a, b); err != nil {
		return nil, nil, err
	}
	return client, server, nil
}
