package host

import (
	"errors"
	"slices"
	"testing"
	"testing/fstest"
)

func TestReservedPorts(t *testing.T) {
	tests := []struct {
		text string
		want []PortRange
	}{
		{"\n", nil},
		{"8080\n", []PortRange{{8080, 8080}}},
		{"8080,9148-9150,65535\n", []PortRange{{8080, 8080}, {9148, 9150}, {65535, 65535}}},
	}
	for _, test := range tests {
		dir := fstest.MapFS{"ip_local_reserved_ports": {Data: []byte(test.text)}}
		if got, err := readReservedPorts(dir); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%q: %v, %v; want %v", test.text, got, err, test.want)
		}
	}
}

func TestReservedPortsThatAreNoneAreRefused(t *testing.T) {
	for _, text := range []string{"a", "1-", "5-4", "65536", "1,,x"} {
		dir := fstest.MapFS{"ip_local_reserved_ports": {Data: []byte(text)}}
		if got, err := readReservedPorts(dir); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
	if _, err := readReservedPorts(fstest.MapFS{}); !errors.Is(err, ErrNoSysctl) {
		t.Errorf("without the sysctl: %v", err)
	}
}
