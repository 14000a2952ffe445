package tracer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
)

func TestCountersAreFoundWhereverTheirNumbersAreDescribed(t *testing.T) {
	numbers := &btf.Enum{Size: 4, Values: []btf.EnumValue{
		{Name: "LINUX_MIB_LISTENOVERFLOWS", Value: 20},
		{Name: "LINUX_MIB_TCPREQQFULLDOCOOKIES", Value: 21},
		{Name: "LINUX_MIB_TCPREQQFULLDROP", Value: 22},
		{Name: "LINUX_MIB_SYNCOOKIESRECV", Value: 23},
	}}
	counters := &btf.Struct{Name: "linux_mib"}
	enum, mib := []btf.Type{numbers}, []btf.Type{counters}
	want := listenCounters{overflows: 20, queueFullCookies: 21, queueFullDrop: 22, cookiesReceived: 23}
	for name, types := range map[string][]btf.Type{
		"just before":          slices.Concat(others(300), enum, others(10), mib, others(300)),
		"just behind":          slices.Concat(mib, others(10), enum),
		"first, sorted":        slices.Concat(others(3), enum, others(300), mib),
		"far behind":           slices.Concat(mib, others(300), enum),
		"nothing lies between": {numbers, counters},
	} {
		if got, err := findListenCounters(specOf(t, types)); err != nil || got != want {
			t.Errorf("%s: %+v, error %v; want %+v", name, got, err, want)
		}
	}
	for name, types := range map[string][]btf.Type{
		"no numbers":         slices.Concat(others(300), mib),
		"some are not":       {&btf.Enum{Size: 4, Values: numbers.Values[:3]}, counters},
		"another's, by name": {&btf.Enum{Name: "copy", Size: 4, Values: numbers.Values}, counters},
		"no counters":        {numbers},
	} {
		if got, err := findListenCounters(specOf(t, types)); err == nil {
			t.Errorf("%s: found %+v", name, got)
		}
	}
}

// others are types that have nothing to do with counters.
func others(n int) (all []btf.Type) {
	for i := range n {
		all = append(all, &btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: fmt.Sprintf("OTHER_%d", i), Value: 1}}})
	}
	return all
}

func specOf(t *testing.T, types []btf.Type) *btf.Spec {
	t.Helper()
	builder, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := builder.Spec()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}
