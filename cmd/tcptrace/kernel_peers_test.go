package main

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
)

func TestRepeatedConnectsAreSummedUp(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	service := acceptService4(80)
	acceptMust(t, p.server.Listen(service))
	p.drop(t, service.Port(), 1)
	got := tcptraceRun(t, "connect", "-o", "json", "--netns", acceptNetNS(p.client), "--count", "5", "--interval", "10ms", service.String())
	lines := got.lines(t)
	sum := lines.only(t, typeSummary)
	slow := slices.IndexFunc(lines, func(l acceptLine) bool { return l.Type == typeVerdict && l.SYNSent == 2 })
	if slow < 0 {
		t.Fatalf("no verdict tells of two SYNs: %s", got.stdout)
	}
	port := strconv.Itoa(int(lines[slow].Local.Port()))
	if diff := cmp.Diff([][]shareLine{
		{{Key: "1", Connected: 4}, {Key: "2", Connected: 1}},
		{{Key: service.String(), Connected: 5}},
		{{Key: port, Connected: 1}},
	}, [][]shareLine{sum.BySYN, sum.ByAddress, sum.BySourcePort}); diff != "" {
		t.Errorf("by SYN, address and source port (-want +got):\n%s", diff)
	}
	if got.status != exitOK || len(lines.of(typeVerdict)) != 5 {
		t.Errorf("exit status %d and %d verdicts; want 0 and 5", got.status, len(lines.of(typeVerdict)))
	}
}

func TestTwoEndsOnThisHostAreOneStoryThroughNAT(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := new(acceptPair)
	p.network = new(lab.Network)
	t.Cleanup(func() { acceptMust(t, p.network.Close()) })
	p.client, p.server = p.addHost(t, "client"), p.addHost(t, "server")
	router := p.addHost(t, "router")
	outside := netip.MustParsePrefix("192.0.2.254/24")
	inside, server := netip.MustParsePrefix("198.51.100.254/24"), netip.MustParsePrefix("198.51.100.10/24")
	p.join(t, lab.End{Host: p.client, Addrs: []netip.Prefix{acceptClient4}}, lab.End{Host: router, Addrs: []netip.Prefix{outside}})
	p.join(t, lab.End{Host: router, Addrs: []netip.Prefix{inside}}, lab.End{Host: p.server, Addrs: []netip.Prefix{server}})
	acceptMust(t, router.Forward())
	behind := netip.AddrPortFrom(server.Addr(), 8443)
	acceptMust(t, translate(router, behind, inside.Addr()))
	front := netip.AddrPortFrom(outside.Addr(), 443)

	refused := tcptraceRun(t, "connect", "-o", "json", "--netns", acceptNetNS(p.client), front.String()).lines(t)
	if v := refused.only(t, typeVerdict); v.Cause != "refused" || !strings.Contains(v.Summary, "the other end, on this host, sent it") {
		t.Errorf("%+v; want refused by the other end on this host", v)
	}
	checkFarEnd(t, refused, behind, "reset_sent")

	acceptMust(t, p.server.Listen(behind))
	connected := tcptraceRun(t, "connect", "-o", "json", "--netns", acceptNetNS(p.client), front.String()).lines(t)
	if v := connected.only(t, typeVerdict); v.Cause != "connected" || v.Remote != front {
		t.Errorf("%+v; want connected to %v", v, front)
	}
	checkFarEnd(t, connected, behind, "syn_received", "established")
}

// checkFarEnd wants events of these kinds from the server's end, which knows the connection by other addresses.
func checkFarEnd(t *testing.T, lines acceptLines, behind netip.AddrPort, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		if !slices.ContainsFunc(lines, func(l acceptLine) bool { return l.Kind == kind && l.Role == "server" && l.Local == behind }) {
			t.Errorf("no %s of the server's end at %v: %+v", kind, behind, lines.of(typeEvent))
		}
	}
}

// translate has a router send every TCP connection that comes to it on to one service, from its own address.
func translate(router *lab.Host, to netip.AddrPort, from netip.Addr) error {
	nft, err := nftables.New(nftables.WithNetNSFd(router.NetNS().FD()))
	if err != nil {
		return err
	}
	table := nft.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "translate"})
	prerouting := nft.AddChain(&nftables.Chain{Name: "destination", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	postrouting := nft.AddChain(&nftables.Chain{Name: "source", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	isTCP := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
	}
	nft.AddRule(&nftables.Rule{Table: table, Chain: prerouting, Exprs: slices.Concat(isTCP, []expr.Any{
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	})})
	nft.AddRule(&nftables.Rule{Table: table, Chain: postrouting, Exprs: slices.Concat(isTCP, []expr.Any{
		&expr.Immediate{Register: 1, Data: from.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	})})
	return nft.Flush()
}
