package lab

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"tcptrace/prober"
	"tcptrace/tracer/event"
)

// probe is prober.Connect from the host, which must at least have tried.
func probe(t *testing.T, host *Host, remote netip.AddrPort, options prober.Options) *event.Probe {
	t.Helper()
	options.NetNS = host.NetNS()
	p, err := prober.Connect(testContext(t), remote.String(), remote, options, nil)
	must(t, err)
	return p
}

func TestServicesDoWhatTheySay(t *testing.T) {
	needKernel(t)
	host := addHost(t, newNetwork(t), "host")
	echo, hangUp, discard := netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("127.0.0.1:81"), netip.MustParseAddrPort("127.0.0.1:82")
	_, err := host.Echo(echo)
	must(t, err)
	_, err = host.HangUp(hangUp)
	must(t, err)
	_, err = host.Discard(discard)
	must(t, err)

	long := make([]byte, 1<<20)
	long[len(long)-1] = '!'
	if p := probe(t, host, echo, prober.Options{Send: long, Expect: []byte("!")}); !p.ExpectMet || p.BytesReceived != int64(len(long)) {
		t.Errorf("echo: %+v; want everything back", p)
	}
	if p := probe(t, host, hangUp, prober.Options{Then: []prober.Step{prober.Hold{}}}); !p.PeerClosed || p.HoldErrno != 0 {
		t.Errorf("hang up: %+v; want it closed in good order", p)
	}
	quiet := prober.Options{Send: long, Then: []prober.Step{prober.Hold{For: 20 * time.Millisecond}}}
	if p := probe(t, host, discard, quiet); p.BytesAcked != int64(len(long)) || p.BytesReceived != 0 || p.PeerClosed {
		t.Errorf("discard: %+v; want everything acknowledged, and nothing back", p)
	}
}

func TestSettleWaitsForAConnection(t *testing.T) {
	needKernel(t)
	host := addHost(t, newNetwork(t), "host")
	service, err := host.Echo(netip.MustParseAddrPort("127.0.0.1:80"))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := service.Settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a connection: %v; want an error that is context.DeadlineExceeded", err)
	}
	settle := prober.Call(service.Settle)
	options := prober.Options{Send: question, Expect: question, Then: []prober.Step{settle}}
	if p := probe(t, host, netip.MustParseAddrPort("127.0.0.1:80"), options); !p.ExpectMet {
		t.Errorf("%+v; want it settled after an exchange", p)
	}
}

func TestSettleWaitsForAcknowledgments(t *testing.T) {
	needKernel(t)
	n := newNetwork(t)
	client, server, err := siteV4.direct(testContext(t), n)
	must(t, err)
	service, err := server.Echo(serviceV4)
	must(t, err)
	var dropped *Rule
	steps := []prober.Step{
		prober.Call(service.Settle),
		prober.Call(func(context.Context) (err error) {
			dropped, err = client.DropInput(Drop{})
			return err
		}),
		prober.Write{Data: question}, // its echo is dropped, so never acknowledged
		prober.Call(func(ctx context.Context) error {
			awaitPackets(ctx, t, dropped, 2) // the acknowledgment and the echo, or the echo again
			return nil
		}),
		prober.Call(func(context.Context) error {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := service.Settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v; want an error that is context.DeadlineExceeded", err)
			}
			return nil
		}),
	}
	probe(t, client, serviceV4, prober.Options{Then: steps})
}

// awaitPackets waits until a rule has caught as many packets as that.
func awaitPackets(ctx context.Context, t *testing.T, rule *Rule, least uint64) {
	t.Helper()
	for ctx.Err() == nil {
		packets, err := rule.Packets()
		must(t, err)
		if packets >= least {
			return
		}
	}
	t.Fatalf("the rule did not catch %d packets", least)
}

func TestDropFirstDropsExactlyThese(t *testing.T) {
	needKernel(t)
	host := addHost(t, newNetwork(t), "host")
	local := netip.MustParseAddrPort("127.0.0.1:80")
	_, err := host.Echo(local)
	must(t, err)
	rule, err := host.DropInput(Drop{Port: 80, First: 1})
	must(t, err)
	for i, retries := range []int{1, 0} {
		if p := probe(t, host, local, prober.Options{Send: question, Expect: question}); !p.ExpectMet || p.TotalRetrans != retries {
			t.Errorf("probe %d: %+v; want an answer after %d retries", i, p, retries)
		}
	}
	if packets, err := rule.Packets(); packets != 1 || err != nil {
		t.Errorf("the rule dropped %d packets, %v; want 1", packets, err)
	}
}

// The advice for a router that forgets is keepalive within the time after which it does.
func TestKeepaliveMakesARouterRemember(t *testing.T) {
	needKernel(t)
	t.Parallel()
	for name, s := range map[string]site{"IPv4": siteV4, "IPv6": siteV6} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, router, server, err := s.routed(testContext(t), newNetwork(t))
			must(t, err)
			_, err = server.Echo(s.farService())
			must(t, err)
			forgotten, err := router.ForgetIdle(2*time.Second, ForgetSilently)
			must(t, err)

			options := everySecond(3)
			options.Send, options.Expect = question, question
			options.Then = []prober.Step{
				prober.Hold{For: 3500 * time.Millisecond},
				prober.Exchange{Send: question, Expect: question},
			}
			p := probe(t, client, s.farService(), options)
			if !p.ExpectMet || p.ExchangeErrno != 0 || p.TotalRetrans != 0 {
				t.Errorf("%+v; want the second answer, too", p)
			}
			if packets, err := forgotten.Packets(); packets != 0 || err != nil {
				t.Errorf("the router did not know %d packets, %v; want none", packets, err)
			}
		})
	}
}
