package event

import "testing"

func TestICMPNameTellsTheFamiliesApart(t *testing.T) {
	tests := []struct {
		v6        bool
		typ, code int
		want      string
	}{
		{false, 3, 1, "host unreachable"},
		{false, 3, 13, "communication administratively prohibited"},
		{false, 11, 0, "time to live exceeded in transit"},
		{true, 1, 1, "communication administratively prohibited"},
		{true, 1, 3, "address unreachable"},
		{true, 3, 1, "fragment reassembly time exceeded"},
		{false, 3, 99, "icmp type 3 code 99"},
		{true, 200, 1, "icmpv6 type 200 code 1"},
	}
	for _, tt := range tests {
		if got := ICMPName(tt.v6, tt.typ, tt.code); got != tt.want {
			t.Errorf("ICMPName(%v, %d, %d) = %q, want %q", tt.v6, tt.typ, tt.code, got, tt.want)
		}
	}
}
