package main

import (
	"context"
	"fmt"
	"math"
	"os"

	"github.com/spf13/cobra"

	"tcptrace/prober/lab"
	"tcptrace/prober/scan"
)

// labScanCommand is what the flags of lab scan say.
type labScanCommand struct {
	scanCommand
	count int
	loss  int
	hold  bool
}

// seedTargets are as many as the peers of the network that the idea of this came from; ipv6Share of them had IPv6.
const (
	seedTargets = 23193
	ipv6Share   = 10440.0 / seedTargets
)

func newLabScanCommand(a *app) *cobra.Command {
	c := labScanCommand{count: seedTargets}
	cmd := &cobra.Command{
		Use:   "scan [flags]",
		Short: "Scan thousands of answering, silent, refusing, slow and unreachable targets in throw-away network namespaces",
		Long: `Build thousands of targets in network namespaces and scan them: of each 100, 55 answer, 25 are silent, 8 refuse, 10 take 20
ms to 2 s to answer, and 2 are unreachable. Nothing of it touches this host's own network, and nothing is left of it.`,
		Example: `  # who answers within which time?
  sudo tcptrace lab scan --timeout 20s --plot latency.svg

  # 70% of all SYNs are lost on the way: does it help to send more of them?
  sudo tcptrace lab scan --loss 70 --timeout 20s --refresh none,10s,5s,2s

  # only the targets, for another program
  sudo tcptrace lab scan --hold > targets.txt`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context(), a) },
	}
	c.addTo(cmd)
	for _, own := range []string{"netns", "source"} {
		_ = cmd.Flags().MarkHidden(own) // the lab's own business
	}
	flags := cmd.Flags()
	flags.Var(newValue(&c.count, "N", parseBetween("a count of targets", 1, 100000)), "targets", "how many targets (default 23193)")
	flags.Var(newValue(&c.loss, "PERCENT", parseBetween("a percentage", 0, 100)), "loss", "lose so many of 100 SYNs on the way, at random")
	flags.BoolVar(&c.hold, "hold", false, "build the targets and list them, and keep them until interrupted")
	return cmd
}

// crowd mixes so many targets.
func (c *labScanCommand) crowd() lab.Crowd {
	crowd := lab.Crowd{Loss: c.loss}
	for _, part := range []struct {
		manner lab.Manner
		share  float64
	}{{lab.Silent, 0.25}, {lab.Refusing, 0.08}, {lab.Slow, 0.10}, {lab.Unreachable, 0.02}} {
		n := int(math.Round(part.share * float64(c.count)))
		crowd.IPv6[part.manner] = int(math.Round(ipv6Share * float64(n)))
		crowd.IPv4[part.manner] = n - crowd.IPv6[part.manner]
	}
	rest := c.count
	for m := range crowd.IPv4 {
		rest -= crowd.IPv4[m] + crowd.IPv6[m]
	}
	crowd.IPv6[lab.Answering] = int(math.Round(ipv6Share * float64(rest)))
	crowd.IPv4[lab.Answering] = rest - crowd.IPv6[lab.Answering]
	return crowd
}

func (c *labScanCommand) run(ctx context.Context, a *app) error {
	if c.trace.NetNS != "" {
		return usageErrorf("a lab has a network namespace of its own: --netns makes no sense here")
	}
	if _, err := c.prepare(); err != nil {
		return err
	}
	crowd := c.crowd()
	network := new(lab.Network)
	defer network.Close()
	client, err := crowd.Build(ctx, network)
	if err != nil {
		return noTraceErrorf("build the lab: %w", err)
	}
	c.options.NetNS = client.NetNS()
	family := c.trace.family()
	var targets []scan.Target
	for _, target := range crowd.Targets() {
		if family.Contains(target.Addr.Addr()) {
			targets = append(targets, scan.Target{Addr: target.Addr})
		}
	}
	if c.hold {
		return c.holdTargets(ctx, a, client, crowd.Targets())
	}
	return c.scan(ctx, a, targets)
}

// holdTargets lists the targets, each with its manner as the label, and waits.
func (c *labScanCommand) holdTargets(ctx context.Context, a *app, client *lab.Host, targets []lab.CrowdTarget) error {
	for _, target := range targets {
		fmt.Fprintf(a.stdout, "%v %v\n", target.Addr, target.Manner)
	}
	a.stdout.Flush()
	a.notice("the targets can be reached from the network namespace /proc/%d/fd/%d, until this is interrupted", os.Getpid(), client.NetNS().FD())
	<-ctx.Done()
	return nil
}
