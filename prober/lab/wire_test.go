package lab

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"tcptrace/prober"
)

// local is a service of a host that is alone.
var local = netip.MustParseAddrPort("127.0.0.1:80")

func TestWirePassesEverything(t *testing.T) {
	needKernel(t)
	t.Parallel()
	for name, s := range map[string]site{"IPv4": siteV4, "IPv6": siteV6} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server, _, err := s.wired(testContext(t), newNetwork(t))
			must(t, err)
			_, err = server.Echo(s.service())
			must(t, err)
			long := bytes.Repeat([]byte{'x'}, 1<<18) // many segments, both ways
			long[len(long)-1] = '!'
			p := probe(t, client, s.service(), prober.Options{Send: long, Expect: []byte("!")})
			if !p.ExpectMet || p.BytesReceived != int64(len(long)) {
				t.Errorf("%+v; want everything back", p)
			}
		})
	}
}

func TestRelayDecidesWhatPasses(t *testing.T) {
	needKernel(t)
	t.Parallel()
	client, server, wire, err := siteV4.wired(testContext(t), newNetwork(t))
	must(t, err)
	_, err = server.Echo(serviceV4)
	must(t, err)
	if p := probe(t, client, serviceV4, prober.Options{}); !p.Connected {
		t.Fatalf("%+v; want it connected as long as there is no relay", p)
	}
	seen := make(chan *Host, 100)
	wire.Relay(func(c Crossing) {
		select {
		case seen <- c.From:
		default:
		}
		if c.From == client {
			c.Pass()
		}
	})
	if p := probe(t, client, serviceV4, prober.Options{Timeout: 200 * time.Millisecond}); p.Connected || p.GaveUp == "" {
		t.Errorf("%+v; want silence", p)
	}
	// Its SYN may be on its way still.
	crossed := make(map[*Host]bool)
	for late := time.After(10 * time.Second); !crossed[client] || !crossed[server]; {
		select {
		case from := <-seen:
			crossed[from] = true
		case <-late:
			t.Fatalf("segments of the client crossed: %t, of the server: %t; want some of each end", crossed[client], crossed[server])
		}
	}
}
