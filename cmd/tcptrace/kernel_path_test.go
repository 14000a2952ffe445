package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcptrace/prober/lab"
)

// pathLab is a chain of routers whose server listens on ports 443 and 80, of both families.
func pathLab(t *testing.T, routers int) *lab.Chain {
	t.Helper()
	acceptKernel(t)
	n := new(lab.Network)
	t.Cleanup(func() { acceptMust(t, n.Close()) })
	c, err := lab.NewChain(t.Context(), n, routers)
	acceptMust(t, err)
	for _, addr := range []netip.Addr{c.ServerV4, c.ServerV6} {
		for _, port := range []uint16{443, 80} {
			acceptMust(t, c.Server.Listen(netip.AddrPortFrom(addr, port)))
		}
	}
	return c
}

// pathHops are the hop lines of a stream: "REMOTE TTL ADDR", with the ICMP code and whether it was reached.
func pathHops(t *testing.T, stream string) []string {
	t.Helper()
	var hops []string
	for text := range strings.Lines(stream) {
		var line hopLine
		acceptMust(t, json.Unmarshal([]byte(text), &line))
		if line.Type != typeHop {
			continue
		}
		if len(line.Answers) == 0 || line.Loss < 1 != (line.Addr != "") {
			t.Errorf("a hop that contradicts itself: %s", text)
		}
		hop := fmt.Sprintf("%v %d %s", line.Remote, line.TTL, line.Addr)
		if line.ICMP != nil {
			hop += fmt.Sprintf(" icmp %d/%d", line.ICMP.Type, line.ICMP.Code)
		}
		if line.Reached {
			hop += " reached"
		}
		hops = append(hops, hop)
	}
	return hops
}

func TestPathFindsAFirewallWithoutPrivilege(t *testing.T) {
	c := pathLab(t, 2)
	_, err := c.Routers[1].DropForward(lab.Drop{Port: 443})
	acceptMust(t, err)
	for _, server := range []netip.Addr{c.ServerV4, c.ServerV6} {
		router1, router2 := c.RouterV4(0), c.RouterV4(1)
		if server.Is6() {
			router1, router2 = c.RouterV6(0), c.RouterV6(1)
		}
		remote, other := netip.AddrPortFrom(server, 443), netip.AddrPortFrom(server, 80)
		got := acceptCommand{uid: acceptNobody, host: c.Client, args: []string{
			"path", "-n", "-o", "json", "--max-hops", "4", "--compare-port", "80", remote.String(),
		}}.run(t)
		want := []string{
			fmt.Sprintf("%v 1 %v", remote, router1), fmt.Sprintf("%v 2 %v", remote, router2),
			fmt.Sprintf("%v 3 ", remote), fmt.Sprintf("%v 4 ", remote),
			fmt.Sprintf("%v 1 %v", other, router1), fmt.Sprintf("%v 2 %v", other, router2),
			fmt.Sprintf("%v 3 %v reached", other, server),
		}
		if hops := pathHops(t, got.stdout); !slices.Equal(hops, want) {
			t.Errorf("hops\n%s\nwant\n%s", strings.Join(hops, "\n"), strings.Join(want, "\n"))
		}
		lines := parseLines(t, got.stdout)
		verdict := lines[len(lines)-2]
		summary := fmt.Sprintf("hop 2 (%v) is the last that answers; hop 3 or the link to it drops SYNs to port 443 but not to port 80", router2)
		if verdict.Cause != "no_answer" || verdict.Outcome != "failed" || verdict.Summary != summary || got.status != exitFailed {
			t.Errorf("exit status %d, %s: %q", got.status, verdict.Cause, verdict.Summary)
		}
		if last := lines[len(lines)-1]; last.Type != typeSummary || last.ExitStatus == nil || *last.ExitStatus != exitFailed {
			t.Errorf("the stream ends with %+v", last)
		}
	}
}

func TestPathReadsLikeThisAndIsReplayed(t *testing.T) {
	c := pathLab(t, 2)
	acceptMust(t, c.Routers[0].StaySilent())
	remote := netip.AddrPortFrom(c.ServerV4, 443)
	recording := filepath.Join(t.TempDir(), "recording")
	got := acceptCommand{host: c.Client, args: []string{"path", "-n", "--sequential", "--record", recording, remote.String()}}.run(t)
	if got.status != exitOK || got.stderr != "" {
		t.Fatalf("exit status %d, %q", got.status, got.stderr)
	}
	lines := strings.Split(got.stdout, "\n")
	for i, begins := range []string{
		"path to " + remote.String(),
		"      1  *",
		"      2  " + c.RouterV4(1).String() + " ",
		"      3  " + remote.Addr().String() + " ",
		"  round trips by ",
		"✓ reached at hop 3: it answers with a SYN-ACK after ",
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], begins) {
			t.Errorf("line %d does not begin with %q:\n%s", i+1, begins, got.stdout)
		}
	}
	// The SYN-ACK comes by way of a hook that every kernel has.
	if !strings.Contains(lines[4], "the kernel's clock") || !strings.Contains(lines[4], "every SYN from port ") {
		t.Errorf("traced, from one port, it says %q", lines[4])
	}
	if replayed := tcptraceRun(t, "replay", recording); replayed.stdout != got.stdout || replayed.status != exitOK {
		t.Errorf("replayed, with status %d:\n%s\nand live:\n%s", replayed.status, replayed.stdout, got.stdout)
	}
}

func TestConnectLooksForThePathWhenItFails(t *testing.T) {
	c := pathLab(t, 1)
	_, err := c.Server.DropInput(lab.Drop{Port: 443})
	acceptMust(t, err)
	dropped := netip.AddrPortFrom(c.ServerV4, 443).String()
	got := acceptCommand{uid: acceptNobody, host: c.Client, args: []string{
		"connect", "--path", "-o", "json", "--timeout", "1500ms", dropped, netip.AddrPortFrom(c.ServerV4, 80).String(),
	}}.run(t)
	hops := pathHops(t, got.stdout)
	if len(hops) < 2 || hops[0] != fmt.Sprintf("%s 1 %v", dropped, c.RouterV4(0)) {
		t.Errorf("hops %q", hops)
	}
	for _, hop := range hops {
		if !strings.HasPrefix(hop, dropped+" ") {
			t.Errorf("hop %q is on the way to another target", hop)
		}
	}
	lines := parseLines(t, got.stdout)
	if last := lines[len(lines)-1]; last.Type != typeSummary || got.status != exitFailed {
		t.Errorf("exit status %d, and the stream ends with %+v", got.status, last)
	}
}

func TestPathEndsWithAVerdictWhenInterrupted(t *testing.T) {
	c := pathLab(t, 1)
	_, err := c.Server.DropInput(lab.Drop{})
	acceptMust(t, err)
	p := acceptCommand{uid: acceptNobody, host: c.Client, args: []string{
		"path", "-n", "-o", "json", "--wait", "1m", netip.AddrPortFrom(c.ServerV4, 443).String(),
	}}.start(t)
	p.await(t, 1, `{"type":"resolution",`)
	got := p.interrupt(t)
	lines := parseLines(t, got.stdout)
	if last := lines[len(lines)-1]; last.Type != typeSummary || !last.Interrupted || got.status != exitFailed {
		t.Errorf("exit status %d, and the stream ends with %+v", got.status, last)
	}
	if verdict := lines[len(lines)-2]; verdict.Cause != "no_answer" || verdict.Outcome != "open" {
		t.Errorf("the verdict is %s, %s: %q", verdict.Cause, verdict.Outcome, verdict.Summary)
	}
}
