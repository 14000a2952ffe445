package path

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// traceroute's path. Where it is not installed there is nothing to compare with, unless the comparison is demanded.
func tracerouteOrSkip(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("traceroute")
	if err != nil && os.Getenv("TCPTRACE_TRACEROUTE") != "1" {
		t.Skip("traceroute is not installed")
	}
	must(t, err)
	return program
}

// TestAgreesWithTraceroute compares what is to be found in each lab with what traceroute -T, which needs root, finds there.
func TestAgreesWithTraceroute(t *testing.T) {
	needKernel(t)
	program := tracerouteOrSkip(t)
	for _, test := range labTests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			built := newChain(t, test.routers)
			if test.breaking != nil {
				must(t, test.breaking(built))
			}
			for _, v6 := range []bool{false, true} {
				c := chain{built, v6}
				var want []string
				for i, h := range test.hops {
					who := "*"
					if h.who != nobody {
						who = c.addr(h.who).String()
					}
					want = append(want, fmt.Sprintf("%d %s", i+1, who))
				}
				remote := c.server(cmp.Or(test.port, servicePort))
				queries := 1
				if test.lossy {
					queries = lostAnswers + 1
				}
				got := traceroute(t, program, c, remote, queries)
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("IPv6 %v: the labs' truth and traceroute's differ (-want +got):\n%s", v6, diff)
				}
			}
		})
	}
}

// traceroute gives who answers at each hop, asked one after the other.
func traceroute(t *testing.T, program string, c chain, remote netip.AddrPort, queries int) []string {
	t.Helper()
	var out, complaints bytes.Buffer
	child := exec.Command(program, "-T", "-n", "-N", "1", "-w", fmt.Sprint(labWait.Seconds()),
		"-q", fmt.Sprint(queries), "-m", fmt.Sprint(asked), "-p", fmt.Sprint(remote.Port()), remote.Addr().String())
	child.Stdout, child.Stderr = &out, &complaints
	must(t, c.Client.Do(child.Start))
	if err := child.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &complaints)
	}
	var found []string
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] == "traceroute" {
			continue
		}
		who := "*"
		for _, field := range fields[1:] {
			if strings.ContainsAny(field, ":") || strings.Count(field, ".") == 3 {
				who = field
				break
			}
		}
		found = append(found, fields[0]+" "+who)
	}
	return found
}
