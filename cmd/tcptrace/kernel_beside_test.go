package main

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tcptrace/prober"
	"tcptrace/prober/lab"
	"tcptrace/tracer/verdict"
)

// besidePort is where the traffic beside the labs goes to: no lab uses it.
const besidePort = 7

// besideRate is how many connects a second the labs have beside them, all together.
func besideRate() int {
	if os.Getenv(lab.DisposableMachine) == "1" {
		return 100 // an emulated guest: more, and there would be no time left for the labs
	}
	return 1000
}

// Every lab at once, and in each client's network namespace connects that have nothing to do with it: half of them are
// answered, half refused. They are this process's own, so all are traced, and the sessions that judge the labs see them.
func TestOtherTrafficInTheSameNamespacesChangesNoVerdict(t *testing.T) {
	acceptKernel(t)
	tr, err := openTracer(&kernelFlags{}, probeTrace(false))
	acceptMust(t, err)
	defer tr.Close()
	m := (&app{}).describeRun()
	describeTrace(&m, tr)
	trials := newTrials(t.Context(), m, lab.Labs(), tr.TellsDropReasons())
	var load besideLoad
	defer func() {
		load.end()
		for _, trial := range trials {
			trial.close()
		}
	}()
	for _, trial := range trials {
		trial.session.sinks = []sink{&besideSink{judge: &trial.judge}}
	}
	load.begin(t, trials)
	began := time.Now()
	f := newFeed(tr, newRouter(trials))
	for _, trial := range trials {
		go trial.run(t.Context(), f)
	}
	acceptMust(t, f.run(t.Context(), func() bool { return allEnded(trials) }))
	took := time.Since(began)
	load.end()
	acceptMust(t, f.drain())

	for _, trial := range trials {
		trial.session.finish(f.now(), false)
		if trial.result() == trialWrong {
			t.Errorf("%s is judged %s (%v), want %s", trial.lab.Name, trial.judge.said(), trial.err, trial.lab.Expect)
		}
	}
	rate := float64(load.made.Load()) / took.Seconds()
	t.Logf("%.0f connects a second beside the labs, of which %d failed otherwise than they should", rate, load.failed.Load())
	if rate < float64(besideRate())/4 {
		t.Errorf("there were %.0f connects a second beside the labs, of %d: that is no load", rate, besideRate())
	}
}

// besideSink leaves verdicts about the load out.
type besideSink struct {
	*judge
}

func (s *besideSink) Verdict(v verdict.Verdict, about told) {
	if v.Remote.Port() != besidePort && v.Local.Port() != besidePort {
		s.judge.Verdict(v, about)
	}
}

// besideLoad are connects in many network namespaces, spread evenly over time.
type besideLoad struct {
	stop         context.CancelFunc
	all          sync.WaitGroup
	made, failed atomic.Int64
}

func (l *besideLoad) begin(t *testing.T, trials []*trial) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	var clients []*lab.Host
	for _, trial := range trials {
		if trial.network != nil {
			clients = append(clients, trial.network.Hosts()[0])
		}
	}
	pause := time.Duration(len(clients)) * time.Second / time.Duration(besideRate())
	for _, client := range clients {
		answers := serveBeside(t, client)
		l.all.Go(func() {
			<-ctx.Done()
			answers.Close()
		})
		l.all.Go(func() { l.connect(ctx, client.NetNS(), pause) })
	}
}

// serveBeside has a listener on the namespace's loopback that closes each connection as soon as its client has.
func serveBeside(t *testing.T, h *lab.Host) net.Listener {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	var listener net.Listener
	acceptMust(t, h.NetNS().Do(func() (err error) {
		listener, err = config.Listen(t.Context(), "tcp", netip.AddrPortFrom(besideAnswered, besidePort).String())
		return err
	}))
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return listener
}

// Where connects are answered, and where they are refused.
var (
	besideAnswered = netip.MustParseAddr("127.0.0.1")
	besideRefused  = netip.MustParseAddr("127.0.0.2")
)

// connect connects from within a namespace until ctx ends, a thread of its own staying there.
func (l *besideLoad) connect(ctx context.Context, ns *prober.NetNS, pause time.Duration) {
	_ = ns.Do(func() error {
		next := time.NewTicker(pause)
		defer next.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return nil
			case <-next.C:
			}
			l.one(n%2 == 0)
		}
	})
}

func (l *besideLoad) one(answered bool) {
	to := besideRefused
	if answered {
		to = besideAnswered
	}
	dialer := net.Dialer{Timeout: time.Second}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(to, besidePort).String())
	l.made.Add(1)
	if (err == nil) != answered {
		l.failed.Add(1)
	}
	if err == nil {
		_ = conn.(*net.TCPConn).SetLinger(0) // it leaves no TIME_WAIT behind, which would hold its port
		conn.Close()
	}
}

// end stops the load and waits until it has stopped.
func (l *besideLoad) end() {
	if l.stop != nil {
		l.stop()
		l.all.Wait()
	}
}
