// Bench measures scan against nmap -sT on the same targets, what listeners --follow takes under a flood of SYNs, and what
// watch costs the connections that it watches beside bpftrace: in network namespaces and in turns, one run of each after
// the other, so that what else the machine does is the same for all. It needs root, and nmap and bpftrace for the
// comparisons.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"tcptrace/prober/lab"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == measuring {
		os.Exit(measure(os.Args[2:]))
	}
	binary := flag.String("tcptrace", "./tcptrace", "the program to measure")
	pairs := flag.Int("pairs", 5, "how often to measure each")
	part := flag.String("part", "all", "what to measure: scan, flood, cost, memory or all; or mechanisms")
	only := flag.String("only", "", "of the ways to trace, for cost, those whose names match this regular expression; and nothing else")
	connections := flag.Int("connections", 20_000, "how many to trace at a time, for cost")
	load := flag.Int("load", 0, "be what is traced: make so many connections")
	calls := flag.Int("calls", 0, "be what is traced: make so many other system calls")
	cpu := flag.Int("cpu", 0, "where to be that")
	flag.Parse()
	var err error
	switch ctx := context.Background(); {
	case *load > 0:
		err = runLoad(os.Stdout, *load, *cpu)
	case *calls > 0:
		err = runCalls(os.Stdout, *calls)
	default:
		err = benchParts(ctx, *part, *binary, *only, *pairs, *connections)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func benchParts(ctx context.Context, part, binary, only string, pairs, connections int) error {
	var errs []error
	if part == "scan" || part == "all" {
		errs = append(errs, bench(ctx, binary, pairs))
	}
	if part == "flood" || part == "all" {
		errs = append(errs, flood(ctx, binary))
	}
	if part == "cost" || part == "all" {
		errs = append(errs, benchCost(ctx, binary, only, connections, pairs))
	}
	if part == "memory" || part == "all" {
		errs = append(errs, benchMemory(ctx, binary, 50*connections))
	}
	if part == "mechanisms" { // not part of all: it is for a kernel that has them
		errs = append(errs, benchMechanisms(ctx, binary, connections))
	}
	return errors.Join(errs...)
}

// Of 23,193 targets, 60% answer, 30% are silent and 10% refuse.
const answering, silent, refusing = 13915, 6957, 2321

func bench(ctx context.Context, binary string, pairs int) error {
	network := new(lab.Network)
	defer network.Close()
	var crowd lab.Crowd
	crowd.IPv4[lab.Answering], crowd.IPv4[lab.Silent], crowd.IPv4[lab.Refusing] = answering, silent, refusing
	client, err := crowd.Build(ctx, network)
	if err != nil {
		return fmt.Errorf("build the targets: %w", err)
	}
	dir, err := os.MkdirTemp("", "tcptrace-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	lists, err := writeLists(dir, &crowd)
	if err != nil {
		return err
	}
	b := &benchmark{client: client, pairs: pairs}
	for _, timeout := range []time.Duration{100 * time.Millisecond, time.Second} {
		b.compare(fmt.Sprintf("%d targets, timeout %v", answering+silent+refusing, timeout), []contender{
			{"tcptrace scan --no-trace", scanArgs(binary, lists.targets, timeout, "--no-trace")},
			{"tcptrace scan", scanArgs(binary, lists.targets, timeout)},
			{"nmap -sT -T5, tuned", nmapArgs(lists.addresses, timeout)},
		})
	}
	// Four ports of every address of a /16 that says nothing.
	b.pairs = 1
	b.compare("262,144 silent targets, timeout 20s: all in progress at a time", []contender{
		{"tcptrace scan --no-trace", []string{binary, "scan", "-q", "10.81.0.0/16:9000-9003", "--timeout", "20s", "--no-trace"}},
	})
	return errors.Join(b.failures...)
}

// lists are the same targets for each program.
type lists struct{ targets, addresses string }

func writeLists(dir string, crowd *lab.Crowd) (lists, error) {
	l := lists{filepath.Join(dir, "targets"), filepath.Join(dir, "addresses")}
	var targets, addresses bytes.Buffer
	for _, target := range crowd.Targets() {
		fmt.Fprintln(&targets, target.Addr)
		fmt.Fprintln(&addresses, target.Addr.Addr())
	}
	return l, errors.Join(os.WriteFile(l.targets, targets.Bytes(), 0o644), os.WriteFile(l.addresses, addresses.Bytes(), 0o644))
}

func scanArgs(binary, list string, timeout time.Duration, more ...string) []string {
	return append([]string{binary, "scan", "-q", "-f", list, "--timeout", timeout.String()}, more...)
}

// nmapArgs makes nmap as fast as it gets with that timeout: thousands of hosts at a time, no retries.
func nmapArgs(list string, timeout time.Duration) []string {
	ms := fmt.Sprintf("%dms", timeout.Milliseconds())
	return []string{"nmap", "-sT", "-n", "-Pn", "-p", "9000", "-T5", "--max-retries", "0", "--min-rtt-timeout", "50ms",
		"--initial-rtt-timeout", ms, "--max-rtt-timeout", ms, "--min-hostgroup", "8192", "--min-parallelism", "1000", "-iL", list, "-oG", "-"}
}

type contender struct {
	name string
	args []string
}

type benchmark struct {
	client   *lab.Host
	pairs    int
	failures []error
}

// compare measures each contender in turn, so often, and prints the medians, and the ratio to the last of each round.
func (b *benchmark) compare(title string, contenders []contender) {
	contenders = slices.DeleteFunc(contenders, func(c contender) bool {
		_, err := exec.LookPath(c.args[0])
		if err != nil {
			fmt.Printf("(%s is not there: %v)\n", c.name, err)
		}
		return err != nil
	})
	all := make([][]measurement, len(contenders))
	for range b.pairs {
		for i, c := range contenders {
			m, err := b.run(c.args)
			if err != nil {
				b.failures = append(b.failures, fmt.Errorf("%s: %w", c.name, err))
				return
			}
			all[i] = append(all[i], m)
		}
	}
	fmt.Printf("\n%s (medians of %d; in brackets the median ratio to the last line)\n", title, b.pairs)
	fmt.Printf("  %-26s %20s %20s %14s %8s\n", "", "wall", "cpu", "memory", "found")
	for i, c := range contenders {
		last := all[len(all)-1]
		fmt.Printf("  %-26s %20s %20s %10.1f MiB %8d\n", c.name,
			withRatio(all[i], last, func(m measurement) float64 { return m.Wall.Seconds() }),
			withRatio(all[i], last, func(m measurement) float64 { return m.CPU.Seconds() }),
			median(values(all[i], func(m measurement) float64 { return float64(m.RSS) / 1024 })),
			int(median(values(all[i], func(m measurement) float64 { return float64(m.found) }))))
	}
}

func withRatio(all, to []measurement, of func(measurement) float64) string {
	ratios := make([]float64, len(all))
	for i := range all {
		ratios[i] = of(all[i]) / of(to[i])
	}
	return fmt.Sprintf("%.2fs (%.2f)", median(values(all, of)), median(ratios))
}

func values(all []measurement, of func(measurement) float64) []float64 {
	var numbers []float64
	for _, m := range all {
		numbers = append(numbers, of(m))
	}
	return numbers
}

func median(numbers []float64) float64 {
	sorted := slices.Sorted(slices.Values(numbers))
	return sorted[len(sorted)/2]
}

// run measures a program in the client's network namespace.
func (b *benchmark) run(args []string) (m measurement, err error) {
	cmd := exec.Command("/proc/self/exe", append([]string{measuring}, args...)...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	result, toResult, err := os.Pipe()
	if err != nil {
		return m, err
	}
	defer result.Close()
	cmd.ExtraFiles = []*os.File{toResult}
	err = b.client.Do(cmd.Start)
	toResult.Close()
	if err != nil {
		return m, err
	}
	err = json.NewDecoder(result).Decode(&m)
	if err := errors.Join(cmd.Wait(), err); err != nil {
		return m, fmt.Errorf("%w: %s", err, strings.TrimSpace(complaints.String()))
	}
	m.found = found(out.String())
	return m, nil
}

var headline = regexp.MustCompile(`: ([0-9,]+) connected`)

// found reads how many targets answered, from what either program prints.
func found(out string) int {
	if match := headline.FindStringSubmatch(out); match != nil {
		n, err := strconv.Atoi(strings.ReplaceAll(match[1], ",", ""))
		if err == nil {
			return n
		}
	}
	if strings.Contains(out, "# Nmap") {
		return strings.Count(out, "/open/tcp")
	}
	return -1
}
