package lab

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
	"pgregory.net/rapid"
)

func TestZoneAnswers(t *testing.T) {
	z := newZone(map[string][]netip.Addr{
		"Both.example": {netip.MustParseAddr("2001:db8::10"), netip.MustParseAddr("192.0.2.10")},
		"four.example": {netip.MustParseAddr("192.0.2.4")},
	})
	tests := []struct {
		name  string
		kind  dnsmessage.Type
		rcode dnsmessage.RCode
		addrs []string
	}{
		{"both.example.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, []string{"192.0.2.10"}},
		{"BOTH.EXAMPLE.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, []string{"2001:db8::10"}},
		{"four.example.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, nil},
		{"four.example.", dnsmessage.TypeMX, dnsmessage.RCodeSuccess, nil},
		{"none.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
	}
	for _, tt := range tests {
		query := dnsmessage.Message{
			Header: dnsmessage.Header{ID: 4711, RecursionDesired: true},
			Questions: []dnsmessage.Question{
				{Name: dnsmessage.MustNewName(tt.name), Type: tt.kind, Class: dnsmessage.ClassINET},
			},
		}
		packed, err := query.Pack()
		must(t, err)
		response, ok := z.answer(packed)
		if !ok {
			t.Errorf("%s %v got no response", tt.name, tt.kind)
			continue
		}
		var got dnsmessage.Message
		must(t, got.Unpack(response))
		if got.ID != 4711 || !got.Response || !got.Authoritative || got.RCode != tt.rcode {
			t.Errorf("%s %v: header %+v, want %v", tt.name, tt.kind, got.Header, tt.rcode)
		}
		if diff := cmp.Diff(query.Questions, got.Questions); diff != "" {
			t.Errorf("%s %v: questions (-sent +returned):\n%s", tt.name, tt.kind, diff)
		}
		if diff := cmp.Diff(tt.addrs, addresses(got.Answers)); diff != "" {
			t.Errorf("%s %v: answers (-want +got):\n%s", tt.name, tt.kind, diff)
		}
	}
}

func addresses(answers []dnsmessage.Resource) []string {
	var addrs []string
	for _, answer := range answers {
		switch body := answer.Body.(type) {
		case *dnsmessage.AResource:
			addrs = append(addrs, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			addrs = append(addrs, netip.AddrFrom16(body.AAAA).String())
		}
	}
	return addrs
}

func TestZoneKeepsSilentOnWhatIsNoQuery(t *testing.T) {
	response := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
	packed, err := response.Pack()
	must(t, err)
	for _, message := range [][]byte{nil, {1}, packed, make([]byte, 12)} {
		if _, ok := newZone(nil).answer(message); ok {
			t.Errorf("% x got a response", message)
		}
	}
}

func TestZoneSurvivesAnyMessage(t *testing.T) {
	z := newZone(map[string][]netip.Addr{"a": {netip.MustParseAddr("192.0.2.1")}})
	rapid.Check(t, func(t *rapid.T) {
		message := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "message")
		response, ok := z.answer(message)
		if !ok {
			return
		}
		var got dnsmessage.Message
		if err := got.Unpack(response); err != nil || !got.Response || got.Header.ID != uint16(message[0])<<8|uint16(message[1]) {
			t.Fatalf("% x got % x (%v), which is no response to it", message, response, err)
		}
	})
}
