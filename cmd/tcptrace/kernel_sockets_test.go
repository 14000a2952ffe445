package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"tcptrace/tracer/sockets"
)

// acceptHeld is a connection from p's client to a port of p's server, both ends of which this process holds.
func acceptHeld(t *testing.T, p *acceptPair, port uint16) (client, server net.Conn) {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	var listener net.Listener
	acceptMust(t, p.server.Do(func() (err error) {
		listener, err = config.Listen(t.Context(), "tcp", acceptService4(port).String())
		return err
	}))
	defer listener.Close()
	acceptMust(t, p.client.Do(func() (err error) {
		var dialer net.Dialer
		dialer.SetMultipathTCP(false)
		client, err = dialer.Dial("tcp", acceptService4(port).String())
		return err
	}))
	t.Cleanup(func() { client.Close() })
	server, err := listener.Accept()
	acceptMust(t, err)
	t.Cleanup(func() { server.Close() })
	return client, server
}

// acceptSockets are those that the command listed as JSON.
func acceptSockets(t *testing.T, result acceptResult) []sockets.Judged {
	t.Helper()
	var all []sockets.Judged
	for line := range strings.Lines(result.stdout) {
		if !strings.HasPrefix(line, `{"type":"socket",`) {
			continue
		}
		var s sockets.Judged
		acceptMust(t, json.Unmarshal([]byte(line), &s))
		all = append(all, s)
	}
	return all
}

func TestSocketsOfEveryNamespaceAreListed(t *testing.T) {
	acceptKernel(t)
	p := newAcceptPair(t)
	client, server := acceptHeld(t, p, 80)
	local, remote := client.LocalAddr().String(), server.LocalAddr().String()
	tests := []struct {
		flags string
		want  []string // local ends
	}{
		{fmt.Sprint("-p ", os.Getpid(), " --addr 192.0.2.0/24"), []string{local, remote}},
		{"--netns " + acceptNetNS(p.client), []string{local}},
		{"--netns " + acceptNetNS(p.server) + " --lport 80", []string{remote}},
		{"--netns " + acceptNetNS(p.server) + " --rport 80", nil},
		{"--netns " + acceptNetNS(p.server) + " -6", nil},
		{"--netns " + acceptNetNS(p.server) + " --problems", nil},
		{"--netns " + acceptNetNS(p.server) + " --state CLOSE_WAIT", nil},
	}
	for _, test := range tests {
		result := tcptraceRun(t, append([]string{"sockets", "-o", "json"}, strings.Fields(test.flags)...)...)
		got := make(map[string]bool)
		for _, s := range acceptSockets(t, result) {
			got[s.Local.String()] = true
			if s.Owner.PID != os.Getpid() {
				t.Errorf("sockets %s: %s belongs to %+v; want process %d", test.flags, s.Local, s.Owner, os.Getpid())
			}
			if s.Options == nil || s.Receive == nil {
				t.Errorf("sockets %s: %+v lacks options, or buffers", test.flags, s)
			}
		}
		for _, want := range test.want {
			if !got[want] {
				t.Errorf("sockets %s: %s is not listed", test.flags, want)
			}
		}
		if test.want == nil && len(got) > 0 {
			t.Errorf("sockets %s lists %v", test.flags, got)
		}
	}
}

// Without privilege the sockets of one's own namespace are listed as ss does, and what is missing is said.
func TestSocketsWithoutPrivilege(t *testing.T) {
	acceptKernel(t)
	p := newAcceptPair(t)
	client, _ := acceptHeld(t, p, 80)
	result := acceptCommand{args: []string{"sockets", "-o", "json"}, uid: acceptNobody, host: p.client}.run(t)
	all := acceptSockets(t, result)
	if len(all) != 1 || all[0].Local.String() != client.LocalAddr().String() || all[0].Options != nil || !all[0].Timer.Armed() {
		t.Errorf("it lists %+v; want %s, with its timer and without options", all, client.LocalAddr())
	}
	if !strings.Contains(result.stderr, "without the options that decide when the kernel gives up: that needs root") {
		t.Errorf("it says %q", result.stderr)
	}
	result = acceptCommand{args: []string{"sockets", "--require-trace"}, uid: acceptNobody, host: p.client}.run(t)
	if result.status != exitNoTrace || result.stdout != "" {
		t.Errorf("it exits %d and says %q; want %d and nothing", result.status, result.stdout, exitNoTrace)
	}
}
