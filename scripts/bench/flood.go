package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"tcptrace/prober/lab"
	"tcptrace/tracer/host/counters"
)

// A flood of 50,000 SYNs a second for five seconds, to a listener whose accept queue of 8 is full.
const floodRate, floodSYNs, floodBacklog = 50_000, 250_000, 8

var (
	flooder = netip.MustParsePrefix("192.0.2.1/24")
	flooded = netip.MustParsePrefix("192.0.2.10/24")
)

// flood measures what `tcptrace listeners --follow` takes while a listener is flooded, and whether it counts what the kernel
// does, and what the flood takes without it.
func flood(ctx context.Context, binary string) error {
	network := new(lab.Network)
	defer network.Close()
	client, err := network.AddHost("client")
	if err != nil {
		return err
	}
	server, err := network.AddHost("server")
	if err != nil {
		return err
	}
	err = network.Connect(ctx, lab.End{Host: client, Addrs: []netip.Prefix{flooder}}, lab.End{Host: server, Addrs: []netip.Prefix{flooded}})
	if err != nil {
		return fmt.Errorf("connect the hosts: %w", err)
	}
	b := &floodBench{client: client, server: server, to: netip.AddrPortFrom(flooded.Addr(), 80)}
	if err := b.fill(ctx); err != nil {
		return err
	}
	fmt.Printf("\n%d SYNs at %d a second, to a listener with a full accept queue\n", floodSYNs, floodRate)
	alone, err := b.flood(ctx)
	if err != nil {
		return err
	}
	alone.print("without tcptrace")
	return b.traced(ctx, binary)
}

type floodBench struct {
	client, server *lab.Host
	to             netip.AddrPort
	waiting        []net.Conn // they fill the accept queue
}

// fill lets clients connect until nobody else can.
func (b *floodBench) fill(ctx context.Context) error {
	if _, err := b.server.ListenQueue(b.to, floodBacklog); err != nil {
		return err
	}
	for range floodBacklog + 1 {
		err := b.client.Do(func() error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", b.to.String())
			b.waiting = append(b.waiting, conn)
			return err
		})
		if err != nil {
			return fmt.Errorf("fill the accept queue: %w", err)
		}
	}
	return nil
}

// floodResult is what a flood came to.
type floodResult struct {
	sent      int
	overflows int64
	took, cpu time.Duration
}

func (r *floodResult) print(title string) {
	fmt.Printf("  %-24s %6.0f SYNs/s, %.2f of a core by the flood and the kernel, %d overflows\n",
		title, float64(r.sent)/r.took.Seconds(), r.cpu.Seconds()/r.took.Seconds(), r.overflows)
}

// flood sends it. What the server's kernel does for each SYN happens in this process's time.
func (b *floodBench) flood(ctx context.Context) (floodResult, error) {
	before, err := b.overflows()
	if err != nil {
		return floodResult{}, err
	}
	began, cpu := time.Now(), ownCPU()
	sent, err := b.client.Flood(ctx, lab.Flood{From: flooder.Addr(), To: b.to, Rate: floodRate, SYNs: floodSYNs})
	if err != nil {
		return floodResult{}, err
	}
	r := floodResult{sent: sent, took: time.Since(began), cpu: ownCPU() - cpu}
	after, err := b.settled(ctx)
	r.overflows = after - before
	return r, err
}

func (b *floodBench) overflows() (n int64, err error) {
	err = b.server.Do(func() error {
		values, err := counters.Read(os.DirFS("/proc/thread-self/net"))
		n = values[counters.Key{Group: "TcpExt", Name: "ListenOverflows"}]
		return err
	})
	return n, err
}

// settled waits until overflows have not grown for a while: some SYNs wait in a queue.
func (b *floodBench) settled(ctx context.Context) (int64, error) {
	last := int64(-1)
	for ctx.Err() == nil {
		now, err := b.overflows()
		if err != nil || now == last {
			return now, err
		}
		last = now
		time.Sleep(300 * time.Millisecond)
	}
	return last, ctx.Err()
}

// traced floods while tcptrace follows the listener, and compares.
func (b *floodBench) traced(ctx context.Context, binary string) error {
	cmd := exec.CommandContext(ctx, binary, "listeners", "--follow", "-o", "json")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := b.server.Do(cmd.Start); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	lines.Scan() // the trace is there
	told := make(chan followSummary, 1)
	go func() { told <- summarize(lines) }()
	flooded, err := b.flood(ctx)
	err = errors.Join(err, cmd.Process.Signal(os.Interrupt))
	summary := <-told
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(complaints.String()))
	}
	state := cmd.ProcessState
	flooded.print("with listeners --follow")
	fmt.Printf("  %-24s %.2f of a core, %.1f MiB; %d overflows counted, told in %d events, %d lost\n", "tcptrace itself",
		(state.UserTime()+state.SystemTime()).Seconds()/time.Since(began).Seconds(),
		float64(state.SysUsage().(*syscall.Rusage).Maxrss)/1024, summary.overflows(), summary.events, summary.Lost)
	if summary.overflows() != flooded.overflows {
		return fmt.Errorf("tcptrace counted %d overflows, the kernel %d", summary.overflows(), flooded.overflows)
	}
	return nil
}

// followSummary is the last line of listeners --follow, and how many events there were.
type followSummary struct {
	Type    string
	Lost    uint64
	Refused struct {
		SYNs      int64 `json:"syns"`
		FinalACKs int64 `json:"final_acks"`
	}
	events int
}

func (s *followSummary) overflows() int64 { return s.Refused.SYNs + s.Refused.FinalACKs }

func summarize(lines *bufio.Scanner) followSummary {
	events := 0
	for lines.Scan() {
		var line followSummary
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		switch line.Type {
		case "event":
			events++
		case "summary":
			line.events = events
			return line
		}
	}
	return followSummary{events: events}
}

// ownCPU is the CPU time of this process so far.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	// It can fail only for somebody who does not exist.
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
