package event

import "fmt"

// State is a TCP state, with the numbers of enum tcp_states (include/net/tcp_states.h).
type State uint8

// The TCP states. TimeWait and NewSYNRecv are states of mini-sockets.
const (
	StateUnknown State = iota
	StateEstablished
	StateSYNSent
	StateSYNRecv
	StateFinWait1
	StateFinWait2
	StateTimeWait
	StateClose
	StateCloseWait
	StateLastACK
	StateListen
	StateClosing
	StateNewSYNRecv
	StateBoundInactive
	states
)

var stateNames = [states]string{
	"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
	"LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV", "BOUND_INACTIVE",
}

// String is the kernel's name without TCP_, and empty for an unknown state.
func (s State) String() string {
	if s < states {
		return stateNames[s]
	}
	return fmt.Sprintf("STATE_%d", uint8(s))
}

// ParseState is the inverse of [State.String].
func ParseState(name string) (State, error) {
	for s, n := range stateNames {
		if n == name {
			return State(s), nil
		}
	}
	return StateUnknown, fmt.Errorf("no TCP state is called %q", name)
}

// Role is the part that a socket plays in its connection.
type Role uint8

// The roles. RoleUnknown is that of a socket older than the trace.
const (
	RoleUnknown Role = iota
	RoleClient
	RoleServer
	RoleListener
	roles
)

var roleNames = [roles]string{"", "client", "server", "listener"}

// String is the contract's name, and empty for an unknown role.
func (r Role) String() string {
	if r < roles {
		return roleNames[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// ParseRole is the inverse of [Role.String].
func ParseRole(name string) (Role, error) {
	for r, n := range roleNames {
		if n == name {
			return Role(r), nil
		}
	}
	return RoleUnknown, fmt.Errorf("no role is called %q", name)
}
