package main

import (
	"fmt"
	"io"
	"time"
)

const benchPath = "/bin/bench"

// benchGuests measure, each kernel in a guest, what tracing costs.
func benchGuests(images []kernelImage) []guest {
	var all []guest
	for _, image := range images {
		args := []string{benchPath, "-tcptrace", commandPath, "-part", "mechanisms", "-connections", "500"}
		all = append(all, guest{image, "bench", 1, []step{{Name: "bench", Args: args, Dir: "/", Env: environment(""), Timeout: 10 * time.Minute}}})
	}
	return all
}

// concludeBench prints what was measured, and gives the exit status.
func concludeBench(out io.Writer, boots []boot) (status int) {
	for _, b := range boots {
		describeFailures(out, b)
		if b.err != nil || !b.done || len(b.failures()) > 0 {
			status = 1
			continue
		}
		fmt.Fprintf(out, "\n%s, emulated, where a nanosecond passes with each instruction: µs are thousands of instructions\n", b.guest.image.pkg)
		for _, s := range b.steps {
			fmt.Fprintf(out, "%s", s.output)
		}
	}
	return status
}
