package main

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tcptrace/tracer/event"
	"tcptrace/tracer/sockets"
)

// exampleSockets is one of each kind that reads differently.
func exampleSockets() []*sockets.Socket {
	const s, ms = time.Second, time.Millisecond
	sysctls := &event.Sysctls{
		SYNRetries: 6, SYNLinearTimeouts: 4, HasSYNLinearTimeouts: true, SYNACKRetries: 5, Retries2: 15, RTOMax: 2 * time.Minute,
		KeepaliveIdle: 2 * time.Hour, KeepaliveInterval: 75 * s, KeepaliveCount: 9, FinTimeout: time.Minute, SYNCookies: 1,
	}
	api := event.Owner{PID: 4211, Comm: "api", UID: 1000, Cgroup: "/system.slice/api.service"}
	make := func(port uint16, state event.State, set func(*sockets.Socket)) *sockets.Socket {
		x := &sockets.Socket{
			ID: sockets.ID(port), Mono: 1234 * s, NetNS: 4026531840, Inode: uint64(port), Owner: api, FD: 7, UID: 1000, HasUID: true, Held: true,
			Local:  netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port),
			Remote: netip.MustParseAddrPort("198.51.100.2:443"), State: state,
			RTO: 204 * ms, RTT: 4 * ms, LastSent: 3 * s, LastReceived: 3 * s, LastACK: 3 * s,
			Traffic: &event.Traffic{BytesAcked: 1000, BytesReceived: 2000, SendWindow: 65535}, Options: &event.Options{}, Sysctls: sysctls,
			Receive: &sockets.Buffer{Size: 131072, Tuned: true, Default: 131072, Max: 6291456},
			Send:    &sockets.Buffer{Size: 87040, Tuned: true, Default: 16384, Max: 4194304},
		}
		set(x)
		return x
	}
	return []*sockets.Socket{
		make(40001, event.StateEstablished, func(*sockets.Socket) {}),
		make(40002, event.StateEstablished, func(x *sockets.Socket) {
			x.InFlight, x.SendQueue, x.Retransmits, x.Retransmitted, x.RTO, x.Backoff = 1, 512, 6, true, 13056*ms, 6
			x.Retransmitting, x.Retransmit, x.Traffic.Retransmits = 12800*ms, sockets.Timer{Name: sockets.TimerRetransmit, Left: 11900 * ms}, 6
			x.LastReceived, x.LastACK = 14*s, 14*s
		}),
		make(40003, event.StateEstablished, func(x *sockets.Socket) {
			x.Options = &event.Options{KeepAlive: true, KeepaliveIdle: 10 * s, KeepaliveCount: 4}
			x.LastReceived, x.LastACK, x.Probes = 165*s, 165*s, 3
			x.Keepalive = sockets.Timer{Name: sockets.TimerKeepalive, Left: 70 * s}
		}),
		make(40004, event.StateEstablished, func(x *sockets.Socket) {
			x.Options, x.Traffic.SendWindow, x.SendQueue = &event.Options{UserTimeout: 30 * s}, 0, 70000
			x.Backoff, x.Probed, x.Probing = 2, true, 700*ms
			x.Retransmit = sockets.Timer{Name: sockets.TimerPersist, Left: 600 * ms}
		}),
		make(40005, event.StateCloseWait, func(x *sockets.Socket) {
			x.RecvQueue, x.LastReceived, x.LastACK = 1, 2*time.Hour, 2*time.Hour
		}),
		make(40006, event.StateSYNSent, func(x *sockets.Socket) {
			x.Options, x.Traffic.SendWindow = &event.Options{SYNRetries: 3}, 0
			x.InFlight, x.SendQueue, x.Retransmits, x.Retransmitted, x.RTO = 1, 1, 2, true, s
			x.Retransmitting, x.Retransmit = 2500*ms, sockets.Timer{Name: sockets.TimerRetransmit, Left: 500 * ms}
			x.Receive = &sockets.Buffer{Asked: 50000, Size: 100000, Default: 131072, Max: 6291456}
		}),
		make(40007, event.StateFinWait1, func(x *sockets.Socket) {
			x.Owner, x.Held, x.Orphan, x.Inode = event.Owner{}, false, true, 0
			x.InFlight, x.SendQueue, x.Retransmit = 1, 1, sockets.Timer{Name: sockets.TimerRetransmit, Left: 100 * ms}
		}),
		{
			ID: 8, NetNS: 4026531840, State: event.StateTimeWait, Substate: event.StateTimeWait,
			Local: netip.MustParseAddrPort("192.0.2.1:40008"), Remote: netip.MustParseAddrPort("198.51.100.2:443"),
			Lifetime: sockets.Timer{Name: sockets.TimerTimeWait, Left: 42 * s},
		},
		make(443, event.StateNewSYNRecv, func(x *sockets.Socket) {
			x.Remote, x.Owner.Via = netip.MustParseAddrPort("203.0.113.9:5555"), "listener"
			x.Retransmits, x.Backoff, x.Lifetime = 1, 1, sockets.Timer{Name: sockets.TimerRetransmit, Left: 1500 * ms}
			x.Owner.Comm = "evil\x1b[31m"
		}),
	}
}

// printSockets lists the example with the settings of c.
func printSockets(t *testing.T, c socketsCommand) []byte {
	t.Helper()
	out := &sinkBuffer{}
	list := listing{exampleSockets(), map[uint32]sockets.Limits{
		4026531840: {Ports: 28232, MaxTimeWait: 65536, MaxSYNBacklog: 1024, SYNCookies: 1},
	}}
	shown := c.choose(list.sockets)
	for i := range shown { // this machine's HZ decides about the latest times
		shown[i] = sockets.Judge(&shown[i].Socket, 250)
	}
	c.write(socketsPrinterTo(out, c), meta{Version: "v0", Subject: aboutSockets}, list, shown)
	return out.Bytes()
}

// socketsPrinterTo writes as c asks for, without colours.
func socketsPrinterTo(out *sinkBuffer, c socketsCommand) socketsPrinter {
	return newSocketsPrinter(out, painter{}, &c.output, &c.detail)
}

func TestSocketsAreReplayedAsTheyWereListed(t *testing.T) {
	for name, c := range map[string]socketsCommand{
		"listed": {}, "verbose": {detail: detailFlags{Verbose: true}}, "quiet": {detail: detailFlags{Quiet: true}},
		"problems": {filter: filterFlags{Problems: true, Count: 2}}, "states": {States: true},
	} {
		t.Run(name, func(t *testing.T) {
			live := printSockets(t, c)
			recorded := c
			recorded.output.Format = formatJSON
			var out sinkBuffer
			r := replay{
				lines:  newRecordingReader(bytes.NewReader(printSockets(t, recorded))),
				others: func(first any) otherReplay { return &socketsReplay{meta: first.(meta), out: socketsPrinterTo(&out, c)} },
			}
			if status, err := r.run(t.Context()); status != exitOK || err != nil {
				t.Fatalf("status %d, %v", status, err)
			}
			if diff := cmp.Diff(string(live), out.String()); diff != "" {
				t.Errorf("(-live +replayed):\n%s", diff)
			}
		})
	}
}

func TestSocketsOfARecordingThatWasCutShortAreCounted(t *testing.T) {
	recorded := printSockets(t, socketsCommand{output: outputFlags{Format: formatJSON}})
	cut := recorded[:bytes.LastIndex(recorded, []byte(`{"type":"summary"`))+10]
	var out sinkBuffer
	r := replay{
		lines: newRecordingReader(bytes.NewReader(cut)),
		others: func(first any) otherReplay {
			return &socketsReplay{meta: first.(meta), out: socketsPrinterTo(&out, socketsCommand{})}
		},
	}
	if _, err := r.run(t.Context()); !errors.Is(err, errCutShort) {
		t.Errorf("%v, want it cut short", err)
	}
	if !strings.Contains(out.String(), "9 TCP sockets") {
		t.Errorf("they are not counted:\n%s", &out)
	}
}

func TestSocketsText(t *testing.T) {
	checkGolden(t, "sockets", printSockets(t, socketsCommand{}))
	checkGolden(t, "sockets-verbose", printSockets(t, socketsCommand{detail: detailFlags{Verbose: true}}))
	checkGolden(t, "sockets-quiet", printSockets(t, socketsCommand{detail: detailFlags{Quiet: true}}))
	checkGolden(t, "sockets-problems", printSockets(t, socketsCommand{filter: filterFlags{Problems: true, Count: 2}}))
	checkGolden(t, "sockets-states", printSockets(t, socketsCommand{States: true}))
}

func TestSocketsJSON(t *testing.T) {
	json := outputFlags{Format: formatJSON}
	checkGolden(t, "sockets.json", printSockets(t, socketsCommand{output: json}))
	checkGolden(t, "sockets-states.json", printSockets(t, socketsCommand{output: json, States: true}))
}
