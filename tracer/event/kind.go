package event

import "fmt"

// Kind says what happened. The names are the contract's and never change.
type Kind uint8

// The event kinds. Their numbers are those of enum event_kind in bpf/event.h; a test compares the two.
const (
	KindUnknown Kind = iota
	Connect
	SYNSent
	SYNReceived
	SYNRetransmit
	SYNACKRetransmit
	SYNACKDuplicate
	Established
	Accept
	StateChange
	OptionsChanged
	Retransmit
	KeepaliveProbe
	KeepaliveAnswer
	WindowProbe
	ResetSent
	ResetReceived
	ICMPError
	AcceptQueueFull
	SYNQueueFull
	SYNACKTimeout
	Drop
	Error
	Close
	kinds // how many there are
)

var kindNames = [kinds]string{
	KindUnknown:      "unknown",
	Connect:          "connect",
	SYNSent:          "syn_sent",
	SYNReceived:      "syn_received",
	SYNRetransmit:    "syn_retransmit",
	SYNACKRetransmit: "synack_retransmit",
	SYNACKDuplicate:  "synack_duplicate",
	Established:      "established",
	Accept:           "accept",
	StateChange:      "state",
	OptionsChanged:   "options_changed",
	Retransmit:       "retransmit",
	KeepaliveProbe:   "keepalive_probe",
	KeepaliveAnswer:  "keepalive_answer",
	WindowProbe:      "window_probe",
	ResetSent:        "reset_sent",
	ResetReceived:    "reset_received",
	ICMPError:        "icmp_error",
	AcceptQueueFull:  "accept_queue_full",
	SYNQueueFull:     "syn_queue_full",
	SYNACKTimeout:    "synack_timeout",
	Drop:             "drop",
	Error:            "error",
	Close:            "close",
}

// String is the kind's name in the contract.
func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// ParseKind is the inverse of [Kind.String].
func ParseKind(name string) (Kind, error) {
	for k := KindUnknown + 1; k < kinds; k++ {
		if kindNames[k] == name {
			return k, nil
		}
	}
	return KindUnknown, fmt.Errorf("no event kind is called %q", name)
}

// Kinds lists every kind there is, in the contract's order.
func Kinds() []Kind {
	all := make([]Kind, 0, kinds-1)
	for k := KindUnknown + 1; k < kinds; k++ {
		all = append(all, k)
	}
	return all
}
