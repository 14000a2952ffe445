package counters

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Info is what is known of a counter. Of one that the tables lack, it has the key, what netstat says and [Other].
type Info struct {
	Key
	Topic Topic
	// Netstat is the sentence of netstat -s (net-tools 2.10), N standing for the number; empty where it says nothing.
	Netstat string
	// Means is a sentence without its full stop, and By are the kernel's functions that count.
	Means, By string
	// Misleading is what is wrong with netstat's sentence, if it is.
	Misleading string
	// Worry is when to worry, and what to do then; empty where the number is just traffic.
	Worry string
}

// Sentence is what netstat -s would print of the value.
func (i *Info) Sentence(value string) string {
	return placeholder().ReplaceAllLiteralString(i.Netstat, value)
}

// placeholder is the N of [Info.Netstat], which names of counters may have in them, too.
var placeholder = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\bN\b`) })

// row is a counter of a section, without what it has from there.
type row struct{ name, netstat, means, by, misleading, worry string }

// section is a part of one group that is about one topic. Rows stand in the order in which they are to be read.
type section struct {
	topic Topic
	group string
	rows  []row
}

// sections are all tables, in order.
func sections() []section { return slices.Concat(tcpSections, ipSections, udpSections, hostSections) }

// known are all rows by their keys, and order says where each of them stands. Most commands need none of them.
var known, order = sync.OnceValue(indexRows), sync.OnceValue(orderRows)

func indexRows() map[Key]*Info {
	known := make(map[Key]*Info)
	for _, s := range sections() {
		for _, r := range s.rows {
			key := Key{s.group, r.name}
			known[key] = &Info{key, s.topic, cmp.Or(r.netstat, defaultSentence(key)), r.means, r.by, r.misleading, r.worry}
		}
	}
	return known
}

func orderRows() map[Key]int {
	order := make(map[Key]int)
	for _, s := range sections() {
		for _, r := range s.rows {
			order[Key{s.group, r.name}] = len(order)
		}
	}
	return order
}

// Lookup is what is known of a counter.
func Lookup(key Key) Info {
	if info, ok := known()[key]; ok {
		return *info
	}
	if info, ok := ofType(key); ok {
		return info
	}
	if info, ok := twin(key); ok {
		return info
	}
	return Info{Key: key, Topic: Other, Netstat: defaultSentence(key)}
}

// twin is the counter of IPv6 that counts there what the one of IPv4 of the same name does.
func twin(key Key) (Info, bool) {
	group, ok := strings.CutSuffix(key.Group, "6")
	if !ok {
		return Info{}, false
	}
	for _, group := range []string{group, group + "Ext"} {
		info, ok := known()[Key{group, key.Name}]
		if !ok {
			continue
		}
		six := *info
		six.Key, six.Netstat, six.Misleading = key, cmp.Or(sentences6[key], defaultSentence(key)), ""
		six.Means = "IPv6: " + info.Means
		if !strings.HasPrefix(key.Group, "Udp") { // the rows of UDP name the functions of both
			six.By = ""
		}
		return six, true
	}
	return Info{}, false
}

// ofType is a counter of ICMP messages of one type, which has the type's number in its name.
func ofType(key Key) (Info, bool) {
	if key.Group != "IcmpMsg" && key.Group != "Icmp6" {
		return Info{}, false
	}
	for prefix, way := range map[string]string{"InType": "received", "OutType": "sent"} {
		if number, ok := strings.CutPrefix(key.Name, prefix); ok {
			means := fmt.Sprintf("messages of type %s that were %s", number, way)
			return Info{Key: key, Topic: ICMP, Netstat: defaultSentence(key), Means: means}, true
		}
	}
	return Info{}, false
}

// defaultSentence is what netstat -s prints of a counter that it has no words for.
func defaultSentence(key Key) string {
	switch {
	case key.Group == groupSockstat, key.Group == groupSoftnet:
		return ""
	case key.Constant() && key.Name != "Forwarding":
		return ""
	}
	return key.Proc() + ": N"
}

// Sorted are the counters that were read, by topic, and within it in the order of the tables: IPv6 beside IPv4, and those
// that the tables lack by their names.
func Sorted(values Values) []Info {
	infos := make([]Info, 0, len(values))
	for key := range maps.Keys(values) {
		infos = append(infos, Lookup(key))
	}
	topics := make(map[Topic]int)
	for i, topic := range Topics() {
		topics[topic] = i
	}
	slices.SortFunc(infos, func(a, b Info) int {
		if a.Topic != b.Topic {
			return topics[a.Topic] - topics[b.Topic]
		}
		if place := placeOf(a.Key) - placeOf(b.Key); place != 0 {
			return place
		}
		return strings.Compare(a.String(), b.String())
	})
	return infos
}

// placeOf is where a counter stands within its topic; one of IPv6 has its twin's place.
func placeOf(key Key) int {
	order := order()
	if place, ok := order[key]; ok {
		return place
	}
	if group, ok := strings.CutSuffix(key.Group, "6"); ok {
		for _, group := range []string{group, group + "Ext"} {
			if place, ok := order[Key{group, key.Name}]; ok {
				return place
			}
		}
	}
	return len(order)
}

// Known are the counters that have rows, in their order.
func Known() []Key {
	order := order()
	keys := slices.Collect(maps.Keys(order))
	slices.SortFunc(keys, func(a, b Key) int { return order[a] - order[b] })
	return keys
}
