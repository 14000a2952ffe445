package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
)

// foreigner is a program that is not ours and connects.
type foreigner struct {
	comm    string
	command acceptCommand
	port    uint16
}

// foreigners are a program of our own under another name and another user, and those well-known ones that are there.
func foreigners(t *testing.T) []foreigner {
	t.Helper()
	const comm = "foreigner"
	all := []foreigner{{comm, acceptCommand{
		path: acceptProgram(t, comm), as: "tcptrace", uid: acceptNobody,
		args: []string{"connect", "-q", acceptService4(8000).String()},
	}, 8000}}
	for _, known := range []struct {
		name string
		args []string
		port uint16
	}{
		{"curl", []string{"-s", "http://" + acceptService4(8001).String() + "/"}, 8001},
		{"nc", []string{acceptServer4.Addr().String(), "8002"}, 8002},
	} {
		if path, err := exec.LookPath(known.name); err == nil {
			all = append(all, foreigner{known.name, acceptCommand{path: path, args: known.args}, known.port})
		}
	}
	return all
}

func TestEveryEventOfAForeignProgramCarriesItsOwner(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	all := foreigners(t)
	for _, f := range all {
		hangUp(t, p.server, acceptService4(f.port))
		p.drop(t, f.port, 2)
	}
	watch := acceptCommand{args: []string{"watch", "-o", "json", "--netns", acceptNetNS(p.client)}}.start(t)
	watch.awaitTrace(t)
	var programs []*acceptProcess
	for _, f := range all {
		f.command.host = p.client
		programs = append(programs, f.command.start(t))
	}
	for _, program := range programs {
		program.wait(t)
	}
	watch.await(t, len(all), `{"type":"verdict",`)
	lines := watch.interrupt(t).lines(t)
	verdicts := lines.verdictsByRemote(t)
	for i, f := range all {
		pid := programs[i].cmd.Process.Pid
		v := verdicts[acceptService4(f.port)]
		if len(v.Contributing) == 0 && v.Cause != "connected_after_retries" || v.Owner.PID != pid || v.Owner.Comm != f.comm {
			t.Errorf("%s[%d]: the verdict is %+v; want one about retries and this owner", f.comm, pid, v)
		}
		events := lines.events(v.Conn)
		for _, ev := range events {
			if ev.Owner.PID != pid || ev.Owner.Comm != f.comm || ev.Owner.UID != f.command.uid || ev.Owner.Via != "" {
				t.Errorf("%s[%d]: event %d, %s, has the owner %+v", f.comm, pid, ev.Nth, ev.Kind, ev.Owner)
			}
		}
		for kind, want := range map[string]int{"connect": 1, "syn_retransmit": 2, "established": 1, "close": 1} {
			if got := len(lines.events(v.Conn, kind)); got != want {
				t.Errorf("%s[%d]: %d events of kind %s, want %d", f.comm, pid, got, kind, want)
			}
		}
	}
}

func TestOwnerOfServerIsTheListenersUntilAccept(t *testing.T) {
	acceptKernel(t)
	t.Parallel()
	p := newAcceptPair(t)
	service := acceptService4(80)
	hangUp(t, p.server, service)
	watch := acceptCommand{args: []string{"watch", "-o", "json", "--netns", acceptNetNS(p.server)}}.start(t)
	watch.awaitTrace(t)
	acceptCommand{args: []string{"connect", "-q", service.String()}, uid: acceptNobody, host: p.client}.run(t)
	watch.await(t, 1, `{"type":"verdict",`)
	lines := watch.interrupt(t).lines(t)
	v := lines.only(t, typeVerdict)
	if v.Owner.PID != os.Getpid() || v.Owner.Via != "" {
		t.Errorf("the owner at the end is %+v; want process %d, who accepted it", v.Owner, os.Getpid())
	}
	var via []string
	for _, ev := range lines.events(v.Conn) {
		if ev.Owner.PID != os.Getpid() {
			t.Errorf("event %d, %s, has the owner %+v", ev.Nth, ev.Kind, ev.Owner)
		}
		via = append(via, fmt.Sprint(ev.Kind, " ", ev.Owner.Via))
	}
	for _, want := range []string{"syn_received listener", "accept "} {
		if !slices.Contains(via, want) {
			t.Errorf("the events and how their owner is known are %q; %q is missing", via, want)
		}
	}
}
