// Matrix runs the kernel tests on other kernels: in guests of an emulator, with kernels of the distribution.
//
// It is one static program in three places: on the host it fetches kernels and QEMU, packs and boots the guests; in a
// guest it is process 1 and /sbin/modprobe. Nothing is installed, and a second run needs no network.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	switch {
	case os.Args[0] == workerName:
		os.Exit(runSteps())
	case filepath.Base(os.Args[0]) == "modprobe":
		os.Exit(runModprobe(os.Args[1:]))
	case os.Getpid() == 1:
		runInit()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// settings are what the command line says.
type settings struct {
	kernels, mechanisms, suites list
	run                         string
	parallel, cpus              int
	patience                    time.Duration
	refresh, kvm, bench         bool
}

// list is a flag of several values.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(text string) error {
	*l = nil
	for value := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		*l = append(*l, value)
	}
	if len(*l) == 0 {
		return errors.New("an empty list")
	}
	return nil
}

func parse(args []string, stderr io.Writer) (settings, error) {
	s := settings{
		kernels:    list{"5.10", "6.1", "6.12", "7"},
		mechanisms: list{"fentry", "kprobe", "tracepoint"},
	}
	for _, suite := range suitesToRun {
		s.suites = append(s.suites, suite.pkg)
	}
	flags := flag.NewFlagSet("matrix", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Var(&s.kernels, "kernels", "the `lines` of kernels, of each the newest")
	flags.Var(&s.mechanisms, "mechanisms", "the `mechanisms` that are forced in turn")
	flags.Var(&s.suites, "suites", "the `packages` whose tests are run")
	flags.StringVar(&s.run, "run", "", "only the tests that match the `expression`, as in go test; nothing else is run")
	flags.IntVar(&s.parallel, "parallel", runtime.NumCPU()+1, "how many guests run at a `time`")
	flags.IntVar(&s.cpus, "cpus", 0, "the `number` of CPUs of each guest; 0: two where only the labs are run, else one")
	flags.DurationVar(&s.patience, "timeout", 20*time.Minute, "how long one guest may take")
	flags.BoolVar(&s.kvm, "kvm", false, "use KVM in place of emulation")
	flags.BoolVar(&s.bench, "bench", false, "in place of the tests, measure what tracing costs by each mechanism")
	flags.BoolVar(&s.refresh, "refresh", false, "look for newer kernels than those in the cache")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return s, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "matrix:", err)
		return 2
	}
	boots, checks, err := s.runAll(ctx, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "matrix:", err)
		return 2
	}
	if s.bench {
		return concludeBench(stdout, boots)
	}
	return conclude(stdout, boots, checks)
}

// runAll fetches what is needed, tries the objects on the kernels' types, and boots the guests.
func (s *settings) runAll(ctx context.Context, stdout io.Writer) ([]boot, []relocationCheck, error) {
	module, err := moduleRoot(ctx)
	if err != nil {
		return nil, nil, err
	}
	cache := filepath.Join(module, ".cache", "matrix")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, nil, err
	}
	emulator, err := fetchQEMU(ctx, cache)
	if err != nil {
		return nil, nil, err
	}
	images, err := fetchKernels(ctx, cache, s.kernels, s.refresh)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(stdout, "QEMU %s\n", emulator.version)
	for _, image := range images {
		fmt.Fprintf(stdout, "%-5s is %s\n", image.line, image.pkg)
	}
	checks, err := s.relocations(ctx, module, cache, emulator, images)
	if err != nil {
		return nil, nil, err
	}
	if s.run == "" && !s.bench && slices.Contains(s.kernels, arm64Line) {
		image, err := findKernel(arm64Dir(cache, arm64Line), arm64Line, arm64)
		if err != nil {
			return nil, nil, err
		}
		images = append(images, image)
	}
	boots, err := s.bootAll(ctx, module, cache, emulator, images, stdout)
	return boots, checks, err
}

// relocations are checked unless single tests, or none, are asked for.
func (s *settings) relocations(ctx context.Context, module, cache string, emulator *qemu, images []kernelImage) ([]relocationCheck, error) {
	if s.run != "" || s.bench {
		return nil, nil
	}
	types, err := fetchTypes(ctx, emulator, cache, images, s.kernels, s.refresh)
	if err != nil {
		return nil, err
	}
	return checkRelocations(module, types)
}

// bootAll runs every guest, some at a time.
func (s *settings) bootAll(ctx context.Context, module, cache string, emulator *qemu, images []kernelImage, stdout io.Writer) ([]boot, error) {
	programs, err := packAllPrograms(ctx, module, cache, images, s.commands(), s.chosenSuites())
	if err != nil {
		return nil, err
	}
	r := runner{qemu: emulator, cache: cache, programs: programs, kvm: s.kvm, bench: s.bench, patience: s.patience}
	guests := s.guests(images)
	if s.bench {
		guests = benchGuests(images)
	}
	for _, image := range images { // guests of one kernel share its modules
		if _, err := packModules(ctx, emulator, image); err != nil {
			return nil, err
		}
	}
	boots := r.runAll(ctx, guests, s.parallel, stdout)
	slices.SortStableFunc(boots, func(a, b boot) int {
		return slices.Index(s.kernels, a.guest.image.line) - slices.Index(s.kernels, b.guest.image.line)
	})
	return boots, ctx.Err()
}

// runAll runs the guests in order, some at a time, and says of each when it has ended.
func (r *runner) runAll(ctx context.Context, guests []guest, parallel int, stdout io.Writer) []boot {
	boots := make([]boot, len(guests))
	next := make(chan int)
	var printing sync.Mutex
	var all sync.WaitGroup
	for range max(1, parallel) {
		all.Go(func() {
			for i := range next {
				boots[i] = r.run(ctx, guests[i])
				printing.Lock()
				fmt.Fprintf(stdout, "%-18s %-9s %s, of which %s on a CPU\n", guests[i].name(), boots[i].result(),
					boots[i].took.Round(time.Second), boots[i].busy.Round(time.Second))
				printing.Unlock()
			}
		})
	}
	for i := range guests {
		next <- i
	}
	close(next)
	all.Wait()
	return boots
}

func (s *settings) chosenSuites() []suite {
	if s.bench {
		return nil
	}
	var chosen []suite
	for _, suite := range suitesToRun {
		for _, pkg := range s.suites {
			if pkg == suite.pkg {
				chosen = append(chosen, suite)
			}
		}
	}
	return chosen
}
