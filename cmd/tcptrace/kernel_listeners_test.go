package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer/event"
)

// acceptListening is a listener that nobody accepts from.
type acceptListening struct {
	bind    string
	backlog int
	options [][3]int
	device  string
}

// listen gives the listener's file, which lives as long as the test.
func (l acceptListening) listen(t *testing.T, h *lab.Host) *os.File {
	t.Helper()
	bind := netip.MustParseAddrPort(l.bind)
	var file *os.File
	acceptMust(t, h.Do(func() error {
		domain := unix.AF_INET
		if bind.Addr().Is6() {
			domain = unix.AF_INET6
		}
		fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), l.bind)
		for _, o := range l.options {
			err = errors.Join(err, unix.SetsockoptInt(fd, o[0], o[1], o[2]))
		}
		if l.device != "" {
			err = errors.Join(err, unix.BindToDevice(fd, l.device))
		}
		return errors.Join(err, unix.Bind(fd, acceptSockaddr(bind)), unix.Listen(fd, l.backlog))
	}))
	t.Cleanup(func() { file.Close() })
	return file
}

func acceptSockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// acceptCrowd begins n connects, and ends them with the test.
func acceptCrowd(t *testing.T, h *lab.Host, to netip.AddrPort, n int) {
	t.Helper()
	acceptMust(t, h.Do(func() error {
		for range n {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			t.Cleanup(func() { unix.Close(fd) })
			if err := unix.Connect(fd, acceptSockaddr(to)); err != nil && err != unix.EINPROGRESS {
				return err
			}
		}
		return nil
	}))
}

// listenerLine is what the tests look at of a listener's line.
type listenerLine struct {
	Type, Device string
	Local        netip.AddrPort
	IPv6Only     bool `json:"ipv6_only"`
	NetNS        uint32
	Owner        struct{ PID int }
	Owners       []struct{ PID int }
	Accept       event.Queue  `json:"accept_queue"`
	SYN          *event.Queue `json:"syn_queue"`
	OldestMS     *float64     `json:"oldest_waiting_ms"`
	Backlog      int
	BoundBy      string `json:"backlog_bound_by"`
	SoMaxConn    int
	DeferMS      float64      `json:"defer_accept_ms"`
	FastOpen     *event.Queue `json:"fastopen_queue"`
	ReusePort    bool
	Group        int `json:"reuseport_group"`
	Drops        int
	DropsChange  *int `json:"drops_change"`
	Accepted     *int
	Rate         float64 `json:"accept_rate"`
	OverMS       float64 `json:"over_ms"`
	Warnings     []struct{ ID string }
}

func acceptListeners(t *testing.T, result acceptResult) []listenerLine {
	t.Helper()
	if result.status != exitOK {
		t.Fatalf("it exits %d: %s", result.status, result.stderr)
	}
	var all []listenerLine
	for text := range strings.Lines(result.stdout) {
		var line listenerLine
		acceptMust(t, json.Unmarshal([]byte(text), &line))
		if line.Type == typeListener {
			all = append(all, line)
		}
	}
	return all
}

func (l *listenerLine) warned(id string) bool {
	return slices.ContainsFunc(l.Warnings, func(w struct{ ID string }) bool { return w.ID == id })
}

func (l *listenerLine) pids() []int {
	var pids []int
	for _, o := range l.Owners {
		pids = append(pids, o.PID)
	}
	if len(pids) == 0 && l.Owner.PID != 0 {
		pids = append(pids, l.Owner.PID)
	}
	slices.Sort(pids)
	return pids
}

// listenerZoo is listeners of all sorts on p's server.
type listenerZoo struct {
	full          netip.AddrPort
	device        string
	began, filled time.Time // when clients came to the full one, and when that was full
}

const zooBacklog = 2

func newListenerZoo(t *testing.T, p *acceptPair) *listenerZoo {
	t.Helper()
	z := &listenerZoo{full: acceptService4(80)}
	acceptMust(t, p.server.Do(func() error {
		devices, err := net.Interfaces()
		for _, d := range devices {
			if d.Flags&net.FlagLoopback == 0 {
				z.device = d.Name
			}
		}
		return err
	}))
	reusePort := [][3]int{{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1}}
	for _, l := range []acceptListening{
		{bind: z.full.String(), backlog: zooBacklog},
		{bind: "0.0.0.0:81", backlog: 100, options: [][3]int{
			{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 5}, {unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16},
		}},
		{bind: "[::]:82", backlog: 1 << 20},
		{bind: "[::]:83", backlog: 10, options: [][3]int{{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1}}},
		{bind: acceptService6(84).String(), backlog: 10},
		{bind: "127.0.0.1:85", backlog: 10, options: reusePort},
		{bind: "127.0.0.1:85", backlog: 10, options: reusePort},
		{bind: "127.0.0.1:85", backlog: 10, options: reusePort},
		{bind: "0.0.0.0:86", backlog: 10, device: z.device},
	} {
		l.listen(t, p.server)
	}
	var multipath net.ListenConfig // which package net makes MPTCP where it can
	acceptMust(t, p.server.Do(func() error {
		l, err := multipath.Listen(t.Context(), "tcp", acceptService4(87).String())
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	}))
	z.fill(t, p)
	return z
}

// fill waits until the full one is full, of connections that nobody accepts.
func (z *listenerZoo) fill(t *testing.T, p *acceptPair) {
	t.Helper()
	z.began = time.Now()
	acceptCrowd(t, p.client, z.full, 8)
	for deadline := time.Now().Add(acceptPatience); ; time.Sleep(time.Millisecond) {
		l := z.listed(t, p)
		if l.Accept.Len > zooBacklog {
			z.filled = time.Now()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the accept queue does not fill up: %+v", l)
		}
	}
}

// listed is the full one, as the command lists it.
func (z *listenerZoo) listed(t *testing.T, p *acceptPair) listenerLine {
	t.Helper()
	port := strconv.Itoa(int(z.full.Port()))
	all := acceptListeners(t, tcptraceRun(t, "listeners", "-o", "json", "--netns", acceptNetNS(p.server), "--lport", port))
	if len(all) != 1 {
		t.Fatalf("listed %+v; want %s alone", all, z.full)
	}
	return all[0]
}

func TestListenersTellWhatBoundsThem(t *testing.T) {
	acceptKernel(t)
	p := newAcceptPair(t)
	z := newListenerZoo(t, p)
	before := time.Now()
	result := tcptraceRun(t, "listeners", "-o", "json", "--netns", acceptNetNS(p.server))
	after := time.Now()
	byPort := make(map[uint16][]listenerLine)
	for _, l := range acceptListeners(t, result) {
		byPort[l.Local.Port()] = append(byPort[l.Local.Port()], l)
		if !slices.Equal(l.pids(), []int{os.Getpid()}) {
			t.Errorf("%s is held by %v; want %d", l.Local, l.pids(), os.Getpid())
		}
		if l.SYN == nil || l.SYN.Max != l.Accept.Max {
			t.Errorf("%s has the SYN queue %v; want the backlog %d as its limit", l.Local, l.SYN, l.Accept.Max)
		}
	}
	for port, n := range map[uint16]int{80: 1, 81: 1, 82: 1, 83: 1, 84: 1, 85: 3, 86: 1, 87: 1} {
		if len(byPort[port]) != n {
			t.Fatalf("%d listeners of port %d; want %d", len(byPort[port]), port, n)
		}
	}
	full := byPort[80][0]
	if full.Accept != (event.Queue{Len: zooBacklog + 1, Max: zooBacklog}) || full.BoundBy != "listen" || !full.warned("accept_queue_full") {
		t.Errorf("the full one: %+v", full)
	}
	z.expectAge(t, full, before, after)
	if l := byPort[81][0]; l.DeferMS != 7000 || l.FastOpen == nil || l.FastOpen.Max != 16 { // 1 + 2 + 4 s
		t.Errorf("TCP_DEFER_ACCEPT of 5 s and TCP_FASTOPEN of 16: %+v", l)
	}
	if l := byPort[82][0]; l.Backlog != l.SoMaxConn || l.BoundBy != "somaxconn" || l.IPv6Only {
		t.Errorf("a longer backlog than somaxconn: %+v", l)
	}
	if l := byPort[83][0]; !l.IPv6Only {
		t.Errorf("IPV6_V6ONLY: %+v", l)
	}
	for _, l := range byPort[85] {
		if !l.ReusePort || l.Group != 3 {
			t.Errorf("one of three by SO_REUSEPORT: %+v", l)
		}
	}
	if l := byPort[86][0]; l.Device != z.device {
		t.Errorf("bound to %s: %+v", z.device, l)
	}
}

// jiffies is how much the kernel's clock of waits may be off, at both ends, by the slowest usual one (CONFIG_HZ=100).
const jiffies = 2 * 10 * time.Millisecond

// expectAge compares for how long the first connection has waited, when it was listed between two times, with when it came.
func (z *listenerZoo) expectAge(t *testing.T, l listenerLine, before, after time.Time) {
	t.Helper()
	if l.OldestMS == nil {
		t.Errorf("%s does not tell for how long the first waits", l.Local)
		return
	}
	age := time.Duration(*l.OldestMS * float64(time.Millisecond))
	if least, most := before.Sub(z.filled)-jiffies, after.Sub(z.began)+jiffies; age < least || age > most {
		t.Errorf("%s: the first waits for %s; want %s to %s", l.Local, age, least, most)
	}
}

// Without privilege the queues are told that sock_diag tells, and for how long the first connection waits.
func TestListenersWithoutPrivilege(t *testing.T) {
	acceptKernel(t)
	p := newAcceptPair(t)
	z := newListenerZoo(t, p)
	before := time.Now()
	result := acceptCommand{args: []string{"listeners", "-o", "json"}, uid: acceptNobody, host: p.server}.run(t)
	after := time.Now()
	all := acceptListeners(t, result)
	if len(all) != 10 {
		t.Errorf("%d listeners; want 10: %+v", len(all), all)
	}
	for _, l := range all {
		switch l.Local.Port() {
		case 80:
			if l.Accept.Len != zooBacklog+1 || !l.warned("accept_queue_full") {
				t.Errorf("the full one: %+v", l)
			}
			z.expectAge(t, l, before, after)
		case 83:
			if !l.IPv6Only {
				t.Errorf("IPV6_V6ONLY: %+v", l)
			}
		case 85:
			if l.Group != 3 {
				t.Errorf("one of three: %+v", l)
			}
		}
	}
	if !strings.Contains(result.stderr, "listed as ss does") {
		t.Errorf("it says %q", result.stderr)
	}
	result = acceptCommand{args: []string{"listeners", "--require-trace"}, uid: acceptNobody, host: p.server}.run(t)
	if result.status != exitNoTrace || result.stdout != "" {
		t.Errorf("it exits %d and says %q; want %d and nothing", result.status, result.stdout, exitNoTrace)
	}
}

// holder is a process of ss's list.
var holder = regexp.MustCompile(`pid=(\d+)`)

func TestListenersAgreeWithSS(t *testing.T) {
	acceptKernel(t)
	if _, err := exec.LookPath("ss"); err != nil {
		t.Skip("there is no ss (iproute2)") // TestListenersTellWhatBoundsThem knows what ss would say
	}
	p := newAcceptPair(t)
	newListenerZoo(t, p)
	inherited := acceptListening{bind: "127.0.0.1:90", backlog: 5}.listen(t, p.server)
	heir := exec.Command("sleep", "600")
	heir.ExtraFiles = []*os.File{inherited}
	acceptMust(t, heir.Start())
	t.Cleanup(func() {
		_ = heir.Process.Kill() // it lives until then
		_ = heir.Wait()         // killed
	})
	var out []byte
	acceptMust(t, p.server.Do(func() (err error) {
		out, err = exec.Command("ss", "-ltnpHO").Output()
		return err
	}))
	var theirs, ours []string
	for text := range strings.Lines(string(out)) {
		columns := strings.Fields(text)
		var pids []int
		for _, match := range holder.FindAllStringSubmatch(text, -1) {
			pid, err := strconv.Atoi(match[1])
			acceptMust(t, err)
			if !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
		slices.Sort(pids)
		theirs = append(theirs, fmt.Sprintf("%s %s %s %v", columns[3], columns[1], columns[2], pids))
	}
	for _, l := range acceptListeners(t, tcptraceRun(t, "listeners", "-o", "json", "--netns", acceptNetNS(p.server))) {
		ours = append(ours, fmt.Sprintf("%s %d %d %v", ssLocal(&l), l.Accept.Len, l.Accept.Max, l.pids()))
	}
	slices.Sort(theirs)
	slices.Sort(ours)
	if len(theirs) != 11 {
		t.Errorf("ss lists %d listeners; want 11", len(theirs))
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("listeners by ss (-) and by tcptrace (+):\n%s", diff)
	}
}

// ssLocal is where it listens, as ss writes it.
func ssLocal(l *listenerLine) string {
	addr := l.Local.Addr().String()
	if l.Local.Addr().Is6() {
		addr = "[" + addr + "]"
	}
	if l.Local.Addr() == netip.IPv6Unspecified() && !l.IPv6Only {
		addr = "*"
	}
	if l.Device != "" {
		addr += "%" + l.Device
	}
	return fmt.Sprintf("%s:%d", addr, l.Local.Port())
}

// What is accepted, and what is dropped, while --interval lasts.
func TestListenersTellWhatHappensInAnInterval(t *testing.T) {
	acceptKernel(t)
	const interval = 500 * time.Millisecond
	p := newAcceptPair(t)
	z := newListenerZoo(t, p)
	service := acceptService4(443)
	acceptMust(t, p.server.Listen(service))
	args := []string{"listeners", "-o", "json", "--netns", acceptNetNS(p.server), "--interval", interval.String()}
	process := acceptCommand{args: args}.start(t)
	connects, ended := 0, false
	for !ended {
		acceptCrowd(t, p.client, service, 1)
		acceptCrowd(t, p.client, z.full, 1)
		connects++
		select {
		case <-process.ended:
			ended = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	byPort := make(map[uint16]listenerLine)
	for _, l := range acceptListeners(t, process.wait(t)) {
		byPort[l.Local.Port()] = l
	}
	if l := byPort[80]; l.DropsChange == nil || *l.DropsChange <= 0 || *l.DropsChange > l.Drops || !l.warned("dropping") {
		t.Errorf("the full one, where clients come: %+v", l)
	}
	if l := byPort[82]; l.Accepted == nil || *l.Accepted != 0 || l.DropsChange == nil || *l.DropsChange != 0 {
		t.Errorf("one where nobody comes: %+v", l)
	}
	l := byPort[443]
	if l.Accepted == nil || *l.Accepted == 0 || *l.Accepted > connects {
		t.Fatalf("one that accepts %d: %+v", connects, l)
	}
	over := time.Duration(l.OverMS * float64(time.Millisecond))
	if rate := float64(*l.Accepted) / over.Seconds(); over < interval || l.Rate < 0.99*rate || l.Rate > 1.01*rate {
		t.Errorf("%d in %s are %v a second; want %v, in %s at least", *l.Accepted, over, l.Rate, rate, interval)
	}
}
