package main

import (
	"bytes"
	"fmt"
	"os"
	"testing"
)

func TestReleaseStartGivesCodeBackThatStillRuns(t *testing.T) {
	before := residentFilePages(t)
	releaseStart()
	if after := residentFilePages(t); after >= before {
		t.Errorf("%d KiB of files are resident, and %d were before", after, before)
	}
}

// residentFilePages is RssFile of this process, in KiB.
func residentFilePages(t *testing.T) (kib int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := bytes.Cut(status, []byte("RssFile:"))
	if _, err := fmt.Sscan(string(rest), &kib); !found || err != nil {
		t.Fatalf("no RssFile in %s", status)
	}
	return kib
}
