package path

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// childTask, in the environment of this test program, is what it is to do as a user without any privilege.
const childTask = "TCPTRACE_TEST_PATH"

// nobody's number, as Debian has it.
const nobodyID = 65534

// task is a route to look for.
type task struct {
	Remote  netip.AddrPort
	Options Options
}

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(childTask); ok {
		os.Exit(carryOut(text))
	}
	os.Exit(m.Run())
}

// carryOut looks for a route and writes the answers.
func carryOut(text string) int {
	var do task
	var answers []Answer
	err := json.Unmarshal([]byte(text), &do)
	if os.Geteuid() != nobodyID {
		err = fmt.Errorf("the user is %d", os.Geteuid())
	}
	if err == nil {
		err = Trace(context.Background(), do.Remote, do.Options, func(a Answer) { answers = append(answers, a) })
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answers)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// findAsNobody is find in a process of its own, which has no privilege and is born in the client's namespace.
func findAsNobody(t *testing.T, c chain, port uint16, opts Options) *Route {
	t.Helper()
	do := task{c.server(port), opts}
	text, err := json.Marshal(do)
	must(t, err)
	var out, complaints bytes.Buffer
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), childTask+"="+string(text))
	child.Dir, child.Stdout, child.Stderr = "/", &out, &complaints
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobodyID, Gid: nobodyID}}
	route := &Route{Remote: do.Remote}
	if err := c.Client.Do(child.Start); err != nil {
		t.Error(err)
		return route
	}
	if err := child.Wait(); err != nil {
		t.Errorf("%v: %s", err, &complaints)
		return route
	}
	var answers []Answer
	if err := json.Unmarshal(out.Bytes(), &answers); err != nil {
		t.Errorf("%v in %s", err, &out)
	}
	for _, a := range answers {
		route.Add(a)
	}
	return route
}
