package main

import (
	"context"
	"time"
)

// acting is a plan of which the applications of a lab are in charge, not probes.
type acting func(context.Context) error

// run returns when the applications are done, and the kernel has had the time to tell the end of their connections.
func (act acting) run(ctx context.Context, _ *feed, _ *session) error {
	if err := act(ctx); err != nil {
		return noTraceErrorf("act in the lab: %w", err)
	}
	grace := time.NewTimer(probeGrace)
	defer grace.Stop()
	select {
	case <-grace.C:
	case <-ctx.Done():
	}
	return nil
}
