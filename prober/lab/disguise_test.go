package lab

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"tcptrace/prober"
)

func TestTimestampsAreFoundInAnyOptions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value, echo := rapid.Uint32().Draw(t, "value"), rapid.Uint32().Draw(t, "echo")
		others := rapid.SampledFrom([][]byte{{1}, {2, 4, 5, 0xb4}, {3, 3, 7}, {4, 2}})
		before := rapid.SliceOfN(others, 0, 4).Draw(t, "before")
		options := append(bytes.Join(before, nil), 8, 10)
		options = binary.BigEndian.AppendUint32(options, value)
		options = binary.BigEndian.AppendUint32(options, echo)
		found := timestamps(options)
		if !bytes.Equal(found.value, options[len(options)-8:len(options)-4]) || !bytes.Equal(found.echo, options[len(options)-4:]) {
			t.Fatalf("% x: found %x", options, found)
		}
		add(found.value, -disguised)
		add(found.value, disguised)
		if got := binary.BigEndian.Uint32(options[len(options)-8:]); got != value {
			t.Fatalf("lowered and raised, %d is %d", value, got)
		}
	})
}

func TestTimestampsSurviveAnyOptions(t *testing.T) {
	for _, options := range [][]byte{
		nil, {8}, {8, 10}, {8, 10, 0, 0, 0, 0, 0, 0, 0}, {2, 0}, {2, 1, 1}, {0, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}, {5, 40, 1},
	} {
		if found := timestamps(options); found.value != nil || found.echo != nil {
			t.Errorf("% x: found %x, want nothing", options, found)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		timestamps(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "options"))
	})
}

// To its peer, a disguised host is another one, and connections still work.
func TestDisguisedHostTalksToItsPeer(t *testing.T) {
	needKernel(t)
	t.Parallel()
	client, server, wire, err := siteV4.wired(testContext(t), newNetwork(t))
	must(t, err)
	_, err = server.Echo(serviceV4)
	must(t, err)
	wire.Relay(disguise(client, Crossing.Pass))
	p := probe(t, client, serviceV4, prober.Options{Send: question, Expect: question})
	if !p.ExpectMet {
		t.Errorf("%+v; want the answer", p)
	}
}
