package schedule

import "fmt"

// Rule is the clause of tcp_write_timeout, tcp_probe_timer or tcp_keepalive_timer (net/ipv4/tcp_timer.c) by which the
// kernel gives up. The zero Rule is that of a timer that sends again. Where a count and the user timeout are both over
// it is the count.
type Rule uint8

// The clauses, in the order in which the kernel asks them.
const (
	// RuleCount: as many retransmissions, or unanswered probes, as the count allows.
	RuleCount Rule = iota + 1
	// RuleTimeModel: the time that the retries would take is over, by a model that knows neither linear timeouts
	// nor the real RTO (tcp_model_timeout).
	RuleTimeModel
	// RuleUserTimeout: TCP_USER_TIMEOUT is over.
	RuleUserTimeout
	// RuleOrphan: the application has closed it, and an orphan is given fewer tries (tcp_orphan_retries).
	RuleOrphan
	// RuleSilence: the window was shut on data in flight, and the peer then silent for two RTO maxima.
	RuleSilence
	rules
)

var ruleNames = [rules]string{"", "count", "time_model", "user_timeout", "orphan", "silence"}

// String is the rule's name in every output, and empty for the zero Rule.
func (r Rule) String() string {
	if r < rules {
		return ruleNames[r]
	}
	return fmt.Sprintf("rule(%d)", uint8(r))
}
