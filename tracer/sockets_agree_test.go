package tracer_test

import (
	stdcmp "cmp"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"tcptrace/prober/lab"
	"tcptrace/tracer"
	"tcptrace/tracer/event"
	"tcptrace/tracer/sockdiag"
	"tcptrace/tracer/sockets"
)

// zoo brings connections into many states, and keeps them there.
func zoo(t *testing.T, h *lab.Host) {
	t.Helper()
	for _, address := range []string{"127.0.0.1", "::1"} {
		silent := func(kill func(*testing.T, *ward), options map[int]int) {
			w := (&dying{kill: kill, options: options}).prepareIn(t, h, address)
			w.begin(t)
		}
		nothing := func(*testing.T, *ward) {}
		silent(nothing, nil)
		silent(nothing, map[int]int{unix.TCP_KEEPIDLE: 600, unix.TCP_KEEPINTVL: 7, unix.TCP_KEEPCNT: 3, unix.TCP_USER_TIMEOUT: 55555})
		silent(fallSilent, map[int]int{unix.TCP_KEEPIDLE: 1, unix.TCP_KEEPINTVL: 30})
		silent(dataInFlight, nil)
		silent(shutWindow, nil)
		silent(shutWindowInSilence, nil)
		silent(func(t *testing.T, w *ward) { w.server.Close() }, nil) // CLOSE_WAIT
		silent(func(t *testing.T, w *ward) { fallSilent(t, w); w.client.Close() }, nil)
		silent(func(t *testing.T, w *ward) {
			setInt(t, w.client, unix.SOL_SOCKET, unix.SO_RCVBUF, 50000)
			setInt(t, w.client, unix.SOL_SOCKET, unix.SO_SNDBUF, 60000)
			w.server.Write([]byte("nobody reads this"))
		}, nil)
		silent(nil, nil)
	}
}

func TestSocketsAgreeWithSockDiag(t *testing.T) {
	l, h := openSockets(t, tracer.SocketOptions{Mini: true}), newHost(t)
	zoo(t, h)
	before := byEnds(listed(t, l, h))
	var other []*sockets.Socket
	if err := h.Do(func() error {
		return sockdiag.List(true, func(s *sockets.Socket) { other = append(other, s) })
	}); err != nil {
		t.Fatal(err)
	}
	after := byEnds(listed(t, l, h))
	other = slices.DeleteFunc(other, func(s *sockets.Socket) bool { return s.State == event.StateListen })
	compared := 0
	for _, theirs := range other {
		key := [2]netip.AddrPort{theirs.Local, theirs.Remote}
		a, b := before[key], after[key]
		if a == nil || b == nil {
			t.Errorf("%s → %s is not listed", theirs.Local, theirs.Remote)
			continue
		}
		if !steady(a, b) {
			continue
		}
		compared++
		a.Cookie = theirs.Cookie // sock_diag makes one for who has none
		if diff := cmp.Diff(known(a), known(theirs), addresses); diff != "" {
			t.Errorf("%s → %s by iterator (-) and by sock_diag (+):\n%s", a.Local, a.Remote, diff)
		}
		if left := theirs.Live().Left; left > a.Live().Left+5*time.Millisecond || left < b.Live().Left-5*time.Millisecond {
			t.Errorf("%s → %s: %s left by sock_diag, %s to %s by iterator", a.Local, a.Remote, left, b.Live().Left, a.Live().Left)
		}
	}
	if compared < len(other)/2 {
		t.Errorf("%d of %d sockets kept still and were compared; want most of them", compared, len(other))
	}
}

// addresses are compared as values.
var addresses = cmpopts.EquateComparable(netip.AddrPort{})

func byEnds(all []*sockets.Socket) map[[2]netip.AddrPort]*sockets.Socket {
	ends := make(map[[2]netip.AddrPort]*sockets.Socket)
	for _, s := range all {
		ends[[2]netip.AddrPort{s.Local, s.Remote}] = s
	}
	return ends
}

// steady says whether nothing happened to a socket from a to b but that time passed.
func steady(a, b *sockets.Socket) bool {
	return cmp.Equal(known(a), known(b), addresses) && a.Live().Left >= b.Live().Left
}

// known is s as both ways to list know it, without times that pass.
func known(s *sockets.Socket) sockets.Socket {
	c := sockets.Socket{
		Inode: s.Inode, NetNS: s.NetNS, Local: s.Local, Remote: s.Remote, State: s.State, Substate: s.Substate,
		Held: s.Held, Orphan: s.Orphan, RTO: s.RTO, RTT: s.RTT, Backoff: s.Backoff,
		RecvQueue: s.RecvQueue, SendQueue: s.SendQueue, InFlight: s.InFlight,
	}
	live := s.Live()
	c.Lifetime = sockets.Timer{Name: stdcmp.Or(ssTimers[live.Name], live.Name)}
	c.Retransmits = s.Retries()
	if !s.Mini() {
		c.UID, c.HasUID = s.UID, s.HasUID
		c.Receive = &sockets.Buffer{Size: s.Receive.Size, Used: s.Receive.Used}
		c.Send = &sockets.Buffer{Size: s.Send.Size, Used: s.Send.Used}
		traffic := *s.Traffic
		traffic.SendWindow = 0 // 6.2
		c.Traffic = &traffic
	}
	return c
}

// theirs is a socket as ss describes it.
type theirs struct {
	local, remote string
	fields        map[string]string
}

// fieldOf finds what ss writes as NAME:VALUE.
var fieldOf = regexp.MustCompile(`(\w+):(\([^ ]*\)|[^ ]+)`)

func askSS(t *testing.T, h *lab.Host) []theirs {
	t.Helper()
	var out []byte
	err := h.Do(func() (err error) {
		out, err = exec.Command("ss", "-tiepomanHO").Output()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []theirs
	for line := range strings.Lines(string(out)) {
		columns := strings.Fields(line)
		if len(columns) < 5 || columns[0] == "LISTEN" {
			continue
		}
		s := theirs{columns[3], columns[4], map[string]string{"state": columns[0], "recv-q": columns[1], "send-q": columns[2]}}
		for _, match := range fieldOf.FindAllStringSubmatch(strings.Join(columns[5:], " "), -1) {
			s.fields[match[1]] = strings.Trim(match[2], "()")
		}
		all = append(all, s)
	}
	return all
}

// ssStates are its names.
var ssStates = map[event.State]string{
	event.StateEstablished: "ESTAB", event.StateSYNSent: "SYN-SENT", event.StateFinWait1: "FIN-WAIT-1",
	event.StateFinWait2: "FIN-WAIT-2", event.StateCloseWait: "CLOSE-WAIT", event.StateLastACK: "LAST-ACK",
	event.StateClosing: "CLOSING", event.StateTimeWait: "TIME-WAIT",
}

// ssTimers are its names of timers, where they differ.
var ssTimers = map[string]string{
	sockets.TimerTLP: "on", sockets.TimerReorder: "on", sockets.TimerFinWait2: "keepalive",
}

// fixed are the fields of a socket that do not change with the time, as ss writes them. It leaves out what is 0.
func fixed(s *sockets.Socket) map[string]string {
	if s.Mini() {
		return map[string]string{"state": ssStates[stdcmp.Or(s.Substate, s.State)]}
	}
	all := map[string]string{
		"state": ssStates[s.State], "recv-q": fmt.Sprint(s.RecvQueue), "send-q": fmt.Sprint(s.SendQueue),
		"sk": fmt.Sprintf("%x", s.Cookie), "rto": milli(s.RTO),
	}
	for name, n := range map[string]int64{
		"ino": int64(s.Inode), "uid": int64(s.UID), "backoff": int64(s.Backoff), "unacked": int64(s.InFlight),
		"bytes_sent": s.Traffic.BytesSent, "bytes_acked": s.Traffic.BytesAcked, "bytes_received": s.Traffic.BytesReceived,
	} {
		if n != 0 {
			all[name] = fmt.Sprint(n)
		}
	}
	return all
}

// milli writes milliseconds as ss does, with a fraction where there is one.
func milli(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'g', -1, 64)
}

func TestSocketsAgreeWithSS(t *testing.T) {
	if _, err := exec.LookPath("ss"); err != nil {
		t.Skip("there is no ss (iproute2)") // TestSocketsAgreeWithSockDiag asks whom ss asks
	}
	l, h := openSockets(t, tracer.SocketOptions{Mini: true}), newHost(t)
	zoo(t, h)
	before, all, after := listed(t, l, h), askSS(t, h), listed(t, l, h)
	if len(all) < 20 {
		t.Fatalf("ss lists %d sockets; want those of the zoo", len(all))
	}
	compared := 0
	for _, ss := range all {
		// An orphan has no cookie until ss asks for one, so addresses join the two.
		a, b := joined(before, ss), joined(after, ss)
		if a == nil || b == nil {
			t.Errorf("%s → %s is not listed", ss.local, ss.remote)
			continue
		}
		a.Cookie = b.Cookie
		compared += agree(t, ss, a, b)
	}
	if compared < 12*len(all) {
		t.Errorf("%d fields of %d sockets were compared; want more", compared, len(all))
	}
}

func joined(all []*sockets.Socket, ss theirs) *sockets.Socket {
	for _, s := range all {
		if s.Local.String() == ss.local && s.Remote.String() == ss.remote {
			return s
		}
	}
	return nil
}

// agree compares what ss says with what the listings just before and after it say, and counts the fields. A field that
// changed meanwhile is left out.
func agree(t *testing.T, ss theirs, a, b *sockets.Socket) (compared int) {
	t.Helper()
	earlier := fixed(a)
	for name, value := range fixed(b) {
		if value != earlier[name] {
			continue
		}
		compared++
		if got := ss.fields[name]; got != value {
			t.Errorf("%s → %s: %s is %q by ss, %q by tcptrace", ss.local, ss.remote, name, got, value)
		}
	}
	if !a.Mini() && !b.Mini() {
		compared += agreeOnTimes(t, ss, a, b) + agreeOnMemory(t, ss, a, b)
	}
	if a.Live().Name != b.Live().Name || a.Retries() != b.Retries() || b.Live().Left > a.Live().Left {
		return compared
	}
	compared++
	name, left, retries, found := ssTimer(ss.fields["timer"])
	want := b.Live()
	if !want.Armed() {
		if found {
			t.Errorf("%s → %s: timer %s by ss, none by tcptrace", ss.local, ss.remote, ss.fields["timer"])
		}
		return compared
	}
	if ours, other := ssTimers[want.Name]; other {
		want.Name = ours
	}
	// ss leaves out milliseconds from 10 s on, and seconds from 10 minutes on.
	grain := time.Second
	if left >= 10*time.Minute {
		grain = time.Minute
	}
	if name != want.Name || retries != b.Retries() || left > a.Live().Left+10*time.Millisecond || left < b.Live().Left-grain {
		t.Errorf("%s → %s: timer %s by ss, %+v, then %+v by tcptrace (%d)", ss.local, ss.remote, ss.fields["timer"], a.Live(), b.Live(), b.Retries())
	}
	return compared
}

// agreeOnTimes compares times that pass.
func agreeOnTimes(t *testing.T, ss theirs, a, b *sockets.Socket) (compared int) {
	t.Helper()
	if a.State == event.StateSYNSent {
		return 0 // what was never heard of was when the kernel began
	}
	for name, times := range map[string][2]time.Duration{
		"lastsnd": {a.LastSent, b.LastSent}, "lastrcv": {a.LastReceived, b.LastReceived}, "lastack": {a.LastACK, b.LastACK},
	} {
		value, ok := ss.fields[name]
		if !ok || times[1] < times[0] {
			continue
		}
		compared++
		ms, err := strconv.Atoi(value)
		if got := time.Duration(ms) * time.Millisecond; err != nil || got < times[0]-5*time.Millisecond || got > times[1]+5*time.Millisecond {
			t.Errorf("%s → %s: %s is %s by ss, %s to %s by tcptrace", ss.local, ss.remote, name, value, times[0], times[1])
		}
	}
	return compared
}

// skmem is what ss writes of a socket's memory.
var skmem = regexp.MustCompile(`^r(\d+),rb(\d+),t\d+,tb(\d+),f-?\d+,w(\d+),`)

func agreeOnMemory(t *testing.T, ss theirs, a, b *sockets.Socket) (compared int) {
	t.Helper()
	memory := skmem.FindStringSubmatch(ss.fields["skmem"])
	if memory == nil {
		t.Fatalf("skmem:%s", ss.fields["skmem"])
	}
	for i, of := range []struct {
		name          string
		before, after int
	}{
		{"receive buffer used", a.Receive.Used, b.Receive.Used}, {"receive buffer", a.Receive.Size, b.Receive.Size},
		{"send buffer", a.Send.Size, b.Send.Size}, {"send buffer used", a.Send.Used, b.Send.Used},
	} {
		if of.before != of.after {
			continue
		}
		compared++
		if memory[i+1] != fmt.Sprint(of.after) {
			t.Errorf("%s → %s: %s is %s by ss, %d by tcptrace", ss.local, ss.remote, of.name, memory[i+1], of.after)
		}
	}
	return compared
}

var (
	ssTimerText = regexp.MustCompile(`^(\w+),([^,]*),(\d+)$`)
	ssTimeText  = regexp.MustCompile(`^(?:(\d+)min)?(?:(\d+)(?:sec|\.))?(?:(\d{3})ms)?$`)
)

// ssTimer reads a timer such as (on,1.960ms,3), which is 1,960 milliseconds.
func ssTimer(text string) (name string, left time.Duration, retries int, found bool) {
	parts := ssTimerText.FindStringSubmatch(text)
	if parts == nil {
		return "", 0, 0, false
	}
	numbers := ssTimeText.FindStringSubmatch(parts[2])
	if numbers == nil {
		return parts[1], 0, 0, false
	}
	for i, unit := range []time.Duration{time.Minute, time.Second, time.Millisecond} {
		n, _ := strconv.Atoi(numbers[i+1]) // absent is 0
		left += time.Duration(n) * unit
	}
	retries, _ = strconv.Atoi(parts[3])
	return parts[1], left, retries, true
}

// What a socket says of itself must be what the listing says of it.
func TestSocketsAgreeWithTheirOwnOptions(t *testing.T) {
	l := openSockets(t, tracer.SocketOptions{})
	loopbacks(t, func(t *testing.T, address string) {
		h := newHost(t)
		client, server := pair(t, h, address)
		for _, option := range [][3]int{
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 77}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 8}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 5},
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 12345}, {unix.IPPROTO_TCP, unix.TCP_SYNCNT, 3},
			{unix.IPPROTO_TCP, unix.TCP_LINGER2, 30}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.SOL_SOCKET, unix.SO_RCVBUF, 40000},
		} {
			setInt(t, client, option[0], option[1], option[2])
		}
		if _, err := server.Write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		awaitUnread(t, client, 6)
		s := at(listed(t, l, h), client.LocalAddr().String())
		if s == nil {
			t.Fatal("it is not listed")
		}
		raw(t, client.(syscall.Conn), func(fd int) error {
			compareWithOwnOptions(t, fd, s)
			return nil
		})
	})
}

// awaitUnread waits until so many bytes have come.
func awaitUnread(t *testing.T, c net.Conn, n int) {
	t.Helper()
	raw(t, c.(syscall.Conn), func(fd int) error {
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			if queued, err := unix.IoctlGetInt(fd, unix.SIOCINQ); err != nil || queued >= n {
				return err
			}
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1); err != nil && err != unix.EINTR {
				return err
			}
		}
		return fmt.Errorf("%d bytes did not come", n)
	})
}

func compareWithOwnOptions(t *testing.T, fd int, s *sockets.Socket) {
	t.Helper()
	option := func(level, name int) int {
		value, err := unix.GetsockoptInt(fd, level, name)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		t.Fatal(err)
	}
	if s.Cookie != 0 && s.Cookie != cookie {
		t.Errorf("cookie %d; want %d", s.Cookie, cookie)
	}
	for name, values := range map[string][2]int64{
		"inode":              {int64(s.Inode), int64(stat.Ino)},
		"descriptor":         {int64(s.FD), int64(fd)},
		"SO_RCVBUF":          {int64(s.Receive.Size), int64(option(unix.SOL_SOCKET, unix.SO_RCVBUF))},
		"SO_RCVBUF as asked": {int64(s.Receive.Asked), 40000},
		"SO_SNDBUF":          {int64(s.Send.Size), int64(option(unix.SOL_SOCKET, unix.SO_SNDBUF))},
		"SO_SNDBUF as asked": {int64(s.Send.Asked), 0},
		"TCP_KEEPIDLE":       {int64(s.Options.KeepaliveIdle / time.Second), int64(option(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE))},
		"TCP_KEEPINTVL":      {int64(s.Options.KeepaliveInterval / time.Second), int64(option(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL))},
		"TCP_KEEPCNT":        {int64(s.Options.KeepaliveCount), int64(option(unix.IPPROTO_TCP, unix.TCP_KEEPCNT))},
		"TCP_SYNCNT":         {int64(s.Options.SYNRetries), int64(option(unix.IPPROTO_TCP, unix.TCP_SYNCNT))},
		"TCP_USER_TIMEOUT":   {s.Options.UserTimeout.Milliseconds(), int64(option(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT))},
		"TCP_LINGER2":        {int64(s.Linger2 / time.Second), int64(option(unix.IPPROTO_TCP, unix.TCP_LINGER2))},
		"state":              {int64(s.State), int64(info.State)},
		"rto":                {s.RTO.Microseconds(), int64(info.Rto)},
		"rtt":                {s.RTT.Microseconds(), int64(info.Rtt)},
		"in flight":          {int64(s.InFlight), int64(info.Unacked)},
		"bytes received":     {s.Traffic.BytesReceived, int64(info.Bytes_received)},
		"receive queue":      {int64(s.RecvQueue), 6},
	} {
		if values[0] != values[1] {
			t.Errorf("%s is %d; want %d", name, values[0], values[1])
		}
	}
	if s.Keepalive.Left < 70*time.Second || s.Keepalive.Left > 77*time.Second {
		t.Errorf("keepalive is due in %s; want less than 77 s", s.Keepalive.Left)
	}
}
