package lab

import (
	"context"
	"net/netip"
	"time"

	"tcptrace/prober"
)

// patienceLabs are about applications that do not wait for the kernel to give up.
var patienceLabs = []Lab{
	{
		Name:    "abandoned-by-application",
		Summary: "The application gives up after 400 ms, before the first retry is due.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443, but its firewall silently drops what comes for that port.",
			"The client connects, and closes its socket after 400 ms.",
			"Look at how little is known: one SYN, and no answer yet. The kernel would have sent the second one after a second. A single lost packet looks the same.",
		},
		Expect: "abandoned_by_application",
		Build:  builder(buildAbandoned).on(siteV4),
		ipv6:   builder(buildAbandoned).on(siteV6),
	},
	{
		Name:    "no-answer-by-application",
		Summary: "The peer is silent, and the application gives up before the kernel does.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The server listens on port 443, but its firewall silently drops what comes for that port.",
			"The client connects, and closes its socket after 2.5 seconds, as an application with a timeout does.",
			"Look at who ended it: the application. What was wrong is the same as with the kernel's ETIMEDOUT: nobody answers.",
		},
		Expect: "no_answer",
		Build:  builder(buildNoAnswerByApplication).on(siteV4),
		ipv6:   builder(buildNoAnswerByApplication).on(siteV6),
	},
	{
		Name:    "superseded",
		Summary: "Two connects race, IPv6 is silent and IPv4 wins: the loser is closed, and nothing is wrong with it.",
		Steps: []string{
			"A client (192.0.2.1, 2001:db8::1) and a server (192.0.2.10, 2001:db8::10) are joined by one link.",
			"The server listens on port 443 of both addresses. Its firewall silently drops TCP over IPv6, and the first SYN over IPv4.",
			"The client connects to both at the same time and takes the first that answers, as browsers do (Happy Eyeballs). It closes the other.",
			"Look at the other: closed before there was an outcome, because its sibling won.",
		},
		Expect: "superseded",
		Beside: []string{"connected_after_retries"},
		Build:  buildSuperseded,
	},
}

func buildAbandoned(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildImpatient(ctx, n, s, 400*time.Millisecond)
}

func buildNoAnswerByApplication(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildImpatient(ctx, n, s, 2500*time.Millisecond)
}

// buildImpatient has a silent server, and a client that waits only so long.
func buildImpatient(ctx context.Context, n *Network, s site, patience time.Duration) (*Scene, error) {
	client, server, err := s.serving(ctx, n)
	if err != nil {
		return nil, err
	}
	if _, err := server.DropInput(Drop{Port: servicePort}); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: prober.Options{Timeout: patience}}, nil
}

func buildSuperseded(ctx context.Context, n *Network) (*Scene, error) {
	client, server, err := clientAndServer(ctx, n, linkV6, linkV4)
	if err != nil {
		return nil, err
	}
	for _, addr := range []netip.AddrPort{serviceV6, serviceV4} {
		if err := server.Listen(addr); err != nil {
			return nil, err
		}
	}
	if _, err := server.DropInput(Drop{Family: IPv6}); err != nil {
		return nil, err
	}
	// Without this the race would be over before the loser has sent anything worth looking at.
	if _, err := server.DropInput(Drop{Family: IPv4, FirstSYNs: 1}); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{serviceV6.String(), serviceV4.String()}, Race: true}, nil
}
