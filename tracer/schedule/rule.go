package schedule

import "fmt"

// Rule is the clause of tcp_write_timeout (net/ipv4/tcp_timer.c) by which the kernel gives up. The zero Rule is
// that of a timer that sends again.
type Rule uint8

// The clauses, in the order in which the kernel asks them.
const (
	// RuleCount: as many retransmissions as the count allows.
	RuleCount Rule = iota + 1
	// RuleTimeModel: the time that the retries would take without linear timeouts is over
	// (tcp_model_timeout), which can be before the count is reached.
	RuleTimeModel
	// RuleUserTimeout: TCP_USER_TIMEOUT is over.
	RuleUserTimeout
	// RuleOrphan: the application has closed it, and an orphan is given fewer tries (tcp_orphan_retries).
	RuleOrphan
	rules
)

var ruleNames = [rules]string{"", "count", "time_model", "user_timeout", "orphan"}

// String is the rule's name in every output, and empty for the zero Rule.
func (r Rule) String() string {
	if r < rules {
		return ruleNames[r]
	}
	return fmt.Sprintf("rule(%d)", uint8(r))
}
