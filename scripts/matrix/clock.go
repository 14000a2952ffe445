package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// realTimeClock is where the machine's clock chip can be read, in whole seconds. It counts by the emulator's time, which the
// host rules.
const realTimeClock = "/sys/class/rtc/rtc0/since_epoch"

// A kernel measures its counter's frequency while it boots, against a timer that emulators do not keep up when the host is
// busy; then its seconds can be a hundredth of real ones, and nothing in the guest can be trusted.
var errClock = errors.New("the kernel has measured its clock wrongly")

// checkClock compares the kernel's clock with the clock chip over some seconds.
func checkClock() error {
	const enough = 2 * time.Second
	began, err := nextSecond()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a board whose counter needs no measuring
	}
	for now := began; err == nil; now, err = nextSecond() {
		if now.chip-began.chip >= enough {
			return compareClocks(now.kernel-began.kernel, now.chip-began.chip)
		}
	}
	return err
}

// compareClocks leaves room for a host that is slow to run the guest.
func compareClocks(kernel, chip time.Duration) error {
	if kernel < chip*3/4 || kernel > chip*3/2 {
		return fmt.Errorf("%w: %s are %s by it", errClock, chip, kernel.Round(time.Millisecond))
	}
	return nil
}

// A moment is one by both clocks, the chip's in whole seconds.
type moment struct{ kernel, chip time.Duration }

// nextSecond waits until the clock chip's second ends.
func nextSecond() (moment, error) {
	before, err := os.ReadFile(realTimeClock)
	if err != nil {
		return moment{}, err
	}
	for {
		// By a wrong clock this sleep is longer or shorter, which does no harm.
		time.Sleep(5 * time.Millisecond)
		now, err := os.ReadFile(realTimeClock)
		if err != nil {
			return moment{}, err
		}
		if string(now) == string(before) {
			continue
		}
		seconds, err := strconv.Atoi(strings.TrimSpace(string(now)))
		if err != nil {
			return moment{}, fmt.Errorf("%s: %w", realTimeClock, err)
		}
		var kernel unix.Timespec
		err = unix.ClockGettime(unix.CLOCK_MONOTONIC, &kernel)
		return moment{time.Duration(kernel.Nano()), time.Duration(seconds) * time.Second}, err
	}
}
