package lab

import (
	"encoding/binary"
	"slices"
)

// disguised is by how much a disguised host's sequence numbers and timestamps are lower than its own.
const disguised = 1 << 30

// disguise makes another host of one, as far as its peer can tell: the segments of which relay decides have lower
// sequence numbers and timestamps than the host has sent. That is how it looks when a NAT gives the same address and port
// to one client after the other. It does not care for SACK.
func disguise(host *Host, relay Relay) Relay {
	return func(c Crossing) {
		s := &c.Segment
		s.Options = slices.Clone(s.Options)
		stamps := timestamps(s.Options)
		if c.From == host {
			s.Seq -= disguised
			add(stamps.value, -disguised)
		} else {
			s.Ack += disguised
			add(stamps.echo, disguised)
		}
		s.packet = s.marshal()
		relay(c)
	}
}

// stamps are the two numbers of a timestamps option (RFC 7323), as in the header; nil when there is none.
type stamps struct{ value, echo []byte }

func add(number []byte, delta int64) {
	if number != nil {
		binary.BigEndian.PutUint32(number, binary.BigEndian.Uint32(number)+uint32(delta))
	}
}

// timestamps finds the option in a list of them.
func timestamps(options []byte) stamps {
	const end, noOperation, kind, length = 0, 1, 8, 10
	for len(options) > 0 && options[0] != end {
		if options[0] == noOperation {
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			break
		}
		if options[0] == kind && options[1] == length {
			return stamps{options[2:6], options[6:10]}
		}
		options = options[options[1]:]
	}
	return stamps{}
}
