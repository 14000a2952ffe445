package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
)

// A suite is a package whose tests need a kernel.
type suite struct {
	pkg string // relative to the module
	// byMechanism: what it tests depends on how events are seen, so it is run once for each mechanism; the others once
	// for each kernel.
	byMechanism bool
	// once matches tests of a suite byMechanism that need be run only once for each kernel all the same: they open many
	// tracers or make thousands of connections, which takes seconds in an emulated machine, to test what comes after the hooks.
	once string
	// together is a test of a suite byMechanism that needs all mechanisms at a time: it is run once for each kernel, with
	// none forced.
	together string
}

// testsOfTheRest are about what comes after the hooks, or, the last of them, before any is chosen: the programs as they are
// embedded, the kernel's types, and records.
const testsOfTheRest = "^(" +
	"TestFiltersAreAboutTheOwner|TestPeerOfAFollowedConnectIsFollowed|TestChildrenAreFollowed|" +
	"TestSourcePortIsToldLaterWithoutCgroup2|TestCgroup.*|TestRequestWhoseSYNCameAgain.*|" +
	"TestConnectionsWithoutRoomAreCounted|TestOwnerIsDescribed|" +
	"TestSocketOlderThanTheTraceHasItsOwner|TestTypesFromAFileStandInForTheKernelsOwn|" +
	"TestOnlyTroubleIsTold|TestWhereHooksRunIsRecordedWhenAskedFor|" +
	"TestOlderConnectionsWithoutRoomAreCounted|TestSockets.*|" +
	"TestDropsBelongToTheirOwnOfManyConnections|TestHandshakesThatTakeLongStayTheirOwn|TestForwardedSYNIsRecognisedAfterManyConnects|" +
	"TestDecod.*|TestKernelWith.*|TestKernelsThatNeedAFallbackHaveIt|TestEveryAlternativeIsSomeKernelsFallback|" +
	"TestRunningKernelIsLikeOneOfTheLines|TestStacksFitIntoWhatOldKernelsAllow|TestObject.*|TestMemoryIsReadByLoads.*|" +
	"TestWhatIsLoadedForNothingIsGivenBack" +
	")$"

// testsForMachines are not for guests: they compare with programs that a guest has not got, or costs, which say nothing in
// an emulated machine.
const testsForMachines = "^(TestSocketsAgreeWithSS|TestWatchingCostsConnectionsLittle|TestTracingBeginsSoon)$"

// suitesToRun are the kernel's tests. Those of cmd/tcptrace are not among them: they are about the command line, with
// programs that a guest has not got, and with times that an emulated machine cannot keep. What the command makes of each
// kernel's events is shown by selftest.
var suitesToRun = []suite{
	{"tracer", true, testsOfTheRest, "TestMechanismsSeeTheSame"},
	{"tracer/host", false, "", ""},
	{"prober", false, "", ""},
	{"prober/lab", false, "", ""},
}

func (s suite) dir() string    { return path.Join("/src", s.pkg) }
func (s suite) binary() string { return path.Join(s.dir(), path.Base(s.pkg)+".test") }

const commandPath = "/bin/tcptrace"

// A command is a program that guests run.
type command struct{ path, source string }

// commands are those that the steps of all guests need.
func (s *settings) commands() []command {
	all := []command{{"/init", "scripts/matrix"}, {commandPath, "cmd/tcptrace"}}
	if s.bench {
		all = append(all, command{benchPath, "scripts/bench"})
	}
	return all
}

// packAllPrograms gives the archive of each architecture that the images are for. Only the first has the tests.
func packAllPrograms(ctx context.Context, module, cache string, images []kernelImage, commands []command, suites []suite) (map[string]string, error) {
	archives := make(map[string]string)
	for _, image := range images {
		architecture := image.architecture
		if archives[architecture] != "" {
			continue
		}
		if architecture != amd64 {
			suites = nil
		}
		archive, err := packPrograms(ctx, module, cache, architecture, commands, suites)
		if err != nil {
			return nil, err
		}
		archives[architecture] = archive
	}
	return archives, nil
}

// packPrograms builds what the guests run, all of it static, and writes the archive that is the same for every guest of
// an architecture.
func packPrograms(ctx context.Context, module, cache, architecture string, commands []command, suites []suite) (string, error) {
	bin := filepath.Join(cache, "bin", architecture)
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	archive := filepath.Join(cache, "programs-"+architecture+".cpio")
	f, err := os.Create(archive)
	if err != nil {
		return "", err
	}
	defer f.Close()
	w := newCPIOWriter(f)
	add := func(target, source string, goArgs ...string) error {
		built := filepath.Join(bin, path.Base(target))
		if err := goTool(ctx, module, architecture, append(goArgs, "-o", built, "./"+source)...); err != nil {
			return err
		}
		return w.copyFile(target, built, true)
	}
	var errs []error
	for _, c := range commands {
		errs = append(errs, add(c.path, c.source, "build"))
	}
	for _, s := range suites {
		errs = append(errs, add(s.binary(), s.pkg, "test", "-c"),
			w.copyTree(path.Join(s.dir(), "testdata"), filepath.Join(module, s.pkg, "testdata")))
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	packSystem(w)
	return archive, w.close()
}

// packSystem adds what programs expect to find in any system.
func packSystem(w *cpioWriter) {
	w.link("/sbin/modprobe", "/init")
	w.file("/etc/hosts", false, []byte("127.0.0.1 localhost guest\n::1 localhost\n"))
	w.file("/etc/resolv.conf", false, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"))
	w.file("/etc/passwd", false, []byte("root:x:0:0:root:/root:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	w.file("/etc/group", false, []byte("root:x:0:\nnogroup:x:65534:\n"))
	w.dir("/root")
	w.link("/dev/fd", "/proc/self/fd")
}

func goTool(ctx context.Context, module, architecture string, args ...string) error {
	flags := []string{args[0], "-trimpath", "-ldflags=-s -w"}
	cmd := exec.CommandContext(ctx, "go", append(flags, args[1:]...)...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture, "GOFLAGS=")
	if _, err := output(cmd); err != nil {
		return fmt.Errorf("build %s: %w", args[len(args)-1], err)
	}
	return nil
}

// moduleRoot is the directory of go.mod.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := output(exec.CommandContext(ctx, "go", "env", "GOMOD"))
	if err != nil {
		return "", err
	}
	mod := filepath.Clean(string(out[:max(0, len(out)-1)]))
	if filepath.Base(mod) != "go.mod" {
		return "", errors.New("run this inside the module")
	}
	return filepath.Dir(mod), nil
}
