package lab

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober"
)

func TestQueueHoldsOneMoreThanItsBacklog(t *testing.T) {
	needKernel(t)
	t.Parallel()
	for _, backlog := range []int{0, 1, 3} {
		host := addHost(t, newNetwork(t), "host")
		queue, err := host.ListenQueue(local, backlog)
		must(t, err)
		for range backlog + 1 {
			must(t, host.occupy(testContext(t), local))
		}
		full := prober.Options{Timeout: 200 * time.Millisecond}
		if p := probe(t, host, local, full); p.Connected {
			t.Errorf("backlog %d: %+v; want its SYN dropped", backlog, p)
		}
		must(t, queue.Accept())
		if p := probe(t, host, local, prober.Options{}); !p.Connected || p.TotalRetrans != 0 {
			t.Errorf("backlog %d: %+v; want it connected when there is room", backlog, p)
		}
	}
}

// What a cookie cannot keep is what the lab is about.
func TestSYNCookieLosesOptions(t *testing.T) {
	needKernel(t)
	t.Parallel()
	for name, s := range map[string]site{"IPv4": siteV4, "IPv6": siteV6} {
		scene, err := buildSYNCookieSent(testContext(t), newNetwork(t), s)
		must(t, err)
		conn, err := scene.Client.dial(testContext(t), s.service())
		must(t, err)
		defer conn.Close()
		raw, err := conn.SyscallConn()
		must(t, err)
		var info *unix.TCPInfo
		must(t, control(raw, func(fd int) error {
			info, err = unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
			return err
		}))
		const timestamps, sack, windowScale = 1, 2, 4 // TCPI_OPT_*
		if info.Options&(timestamps|sack|windowScale) != 0 {
			t.Errorf("%s: options %#x; want none left", name, info.Options)
		}
	}
}

// Where nothing but the signature is missing, it is demanded of one address only.
func TestSignatureIsDemandedOfOnePeer(t *testing.T) {
	needKernel(t)
	t.Parallel()
	host := addHost(t, newNetwork(t), "host")
	queue, err := host.ListenQueue(local, shortBacklog)
	must(t, err)
	err = queue.RequireSignature(linkV4.client.Addr(), "secret")
	skipIfNotHere(t, Lab{Needs: "TCP MD5 signatures"}, err)
	must(t, err)
	if p := probe(t, host, local, prober.Options{}); !p.Connected {
		t.Errorf("%+v; want another address connected", p)
	}
}
