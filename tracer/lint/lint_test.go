package lint

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tcptrace/tracer/event"
)

func ids(warnings []Warning) []string {
	var all []string
	for _, w := range warnings {
		all = append(all, w.ID)
	}
	return all
}

func TestCheck(t *testing.T) {
	const s = time.Second
	good := Settings{KeepAlive: true, KeepaliveIdle: 60 * s, KeepaliveInterval: 10 * s, KeepaliveCount: 6, UserTimeout: 120 * s, InFlight: true}
	with := func(change func(*Settings)) Settings {
		changed := good
		change(&changed)
		return changed
	}
	tests := []struct {
		name     string
		settings Settings
		want     []string
	}{
		{"settings that agree", good, nil},
		{"no keepalive, and not idle", Settings{}, nil},
		{"defaults with data in flight", Settings{InFlight: true}, []string{"retransmission_hangs"}},
		{"few retries", Settings{InFlight: true, Retries2: 8}, nil},
		{"a low RTO maximum", Settings{InFlight: true, RTOMax: 10 * s}, nil},
		{"keepalive as it is by default", Settings{KeepAlive: true}, []string{"keepalive_later_than_idle_limits", "dead_peer_noticed_late"}},
		{"keepalive as it is by default, to this host", Settings{KeepAlive: true, Local: true}, []string{"dead_peer_noticed_late"}},
		{"idle just below the limits", with(func(s *Settings) { s.UserTimeout, s.InFlight, s.KeepaliveIdle = 0, false, 239*time.Second }), nil},
		{"idle as the shortest limit", with(func(s *Settings) { s.UserTimeout, s.InFlight, s.KeepaliveIdle = 0, false, 240*time.Second }),
			[]string{"keepalive_later_than_idle_limits"}},
		{"user timeout below the first probe", with(func(s *Settings) { s.UserTimeout = 40 * time.Second }), []string{"user_timeout_below_keepalive"}},
		{"user timeout below the second probe", with(func(s *Settings) { s.UserTimeout = 69 * time.Second }), []string{"user_timeout_below_keepalive"}},
		{"user timeout at the second probe", with(func(s *Settings) { s.UserTimeout = 70 * time.Second }), []string{"keepalive_count_ignored"}},
		{"user timeout of fewer probes", with(func(s *Settings) { s.UserTimeout = 100 * time.Second }), []string{"keepalive_count_ignored"}},
		{"user timeout of more probes", with(func(s *Settings) { s.UserTimeout = 121 * time.Second }), []string{"keepalive_count_ignored"}},
		{"user timeout that comes to the count", with(func(s *Settings) { s.UserTimeout = 111 * time.Second }), nil},
		{"user timeout below an outage", Settings{UserTimeout: 5 * s}, []string{"user_timeout_below_outage"}},
		{"user timeout of an outage", Settings{UserTimeout: 30 * s}, nil},
		{"one probe", with(func(s *Settings) { s.UserTimeout, s.InFlight, s.KeepaliveCount = 0, false, 1 }), []string{"single_keepalive_probe"}},
		{"idle for an hour", Settings{Idle: time.Hour}, []string{"keepalive_off"}},
		{"idle for an hour, to this host", Settings{Idle: time.Hour, Local: true}, nil},
		{"silent for an hour with data in flight", Settings{Idle: time.Hour, InFlight: true, Retries2: 3}, nil},
		{"a shut window", Settings{Shut: true}, []string{"zero_window_for_ever"}},
		{"a shut window with a user timeout", Settings{Shut: true, UserTimeout: 60 * s}, []string{"user_timeout_at_zero_window"}},
		{"all at once", Settings{KeepAlive: true, UserTimeout: 3 * s, Shut: true, InFlight: true},
			[]string{"user_timeout_at_zero_window", "user_timeout_below_outage", "user_timeout_below_keepalive", "keepalive_later_than_idle_limits", "dead_peer_noticed_late"}},

		{"half closed by the peer", Settings{State: event.StateCloseWait, Idle: time.Hour}, []string{"keepalive_off"}},
		{"sending what is left", Settings{State: event.StateFinWait1, KeepAlive: true, InFlight: true}, []string{"retransmission_hangs"}},
		{"closed", Settings{State: event.StateFinWait2, KeepAlive: true, Orphan: true}, nil},
		{"connecting", Settings{State: event.StateSYNSent, KeepAlive: true}, nil},
		{"listening", Settings{State: event.StateListen, Idle: time.Hour}, nil},
		{"over", Settings{State: event.StateTimeWait, Idle: time.Hour}, nil},
	}
	seen := make(map[string]bool)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ids(Check(tt.settings))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			for _, id := range got {
				seen[id] = true
			}
		})
	}
	for _, rule := range rules {
		if !seen[rule.id] {
			t.Errorf("no settings here are warned of by %s", rule.id)
		}
	}
}

func TestSentencesHaveTheNumbers(t *testing.T) {
	const s = time.Second
	for want, settings := range map[string]Settings{
		"the peer's window is shut: as long as it answers the probes, which come at most 2m apart, the connection never ends, whatever tcp_retries2 is": {
			Shut: true,
		},
		"TCP_USER_TIMEOUT 1m ends the connection that long after the first window probe, even though the peer answers: a peer that is only slow to read counts as dead": {
			Shut: true, UserTimeout: 60 * s,
		},
		"without TCP_USER_TIMEOUT, data to a peer that is gone is given up only after 17m25s (tcp_retries2 15); keepalive does nothing in that time": {
			InFlight: true,
		},
		"with TCP_USER_TIMEOUT 5s unacknowledged data is sent for the last time after 3s and given up after 5.2s: the connection does not outlive an outage that long": {
			UserTimeout: 5 * s,
		},
		"TCP_USER_TIMEOUT 40s is below TCP_KEEPIDLE 1m and one TCP_KEEPINTVL 10s: an idle connection ends after a single unanswered probe, and not before 1m10s": {
			KeepAlive: true, KeepaliveIdle: 60 * s, KeepaliveInterval: 10 * s, UserTimeout: 40 * s,
		},
		"TCP_KEEPCNT 6 means nothing beside TCP_USER_TIMEOUT 1m40s: an idle connection ends after 1m40s and 4 unanswered probes, not after 2m and 6": {
			KeepAlive: true, KeepaliveIdle: 60 * s, KeepaliveInterval: 10 * s, KeepaliveCount: 6, UserTimeout: 100 * s,
		},
		"with TCP_KEEPCNT 1 a single lost probe, or lost answer, ends a healthy connection after 1m10s": {
			KeepAlive: true, KeepaliveIdle: 60 * s, KeepaliveInterval: 10 * s, KeepaliveCount: 1,
		},
		"idle for 6m without keepalive: this end would never learn that the peer is gone; forgotten by now, if it is on the way, by what remembers for 4m (Azure load balancers and NAT gateways), 5m50s (AWS network load balancers and NAT gateways)": {
			Idle: 360 * s,
		},
		"the first keepalive probe comes after 5m: too late to keep an idle connection in what remembers it for 4m (Azure load balancers and NAT gateways)": {
			KeepAlive: true, KeepaliveIdle: 300 * s,
		},
		"keepalive takes 2h11m to notice that an idle peer is gone: 2h until the first probe, then 1m15s for each of 9": {
			KeepAlive: true, Local: true,
		},
	} {
		warnings := Check(settings)
		if len(warnings) != 1 || warnings[0].Sentence != want {
			t.Errorf("%+v:\ngot  %+v\nwant %s", settings, warnings, want)
		}
	}
}

// Who follows the advice is not warned again.
func TestAdviceOnTheCountIsRight(t *testing.T) {
	s := Settings{KeepAlive: true, KeepaliveIdle: time.Minute, KeepaliveInterval: 10 * time.Second, KeepaliveCount: 6, UserTimeout: 100 * time.Second}
	warnings := Check(s)
	if len(warnings) != 1 || warnings[0].Advice != "set TCP_USER_TIMEOUT to 2m to have as many probes as TCP_KEEPCNT says" {
		t.Fatalf("warnings %+v", warnings)
	}
	s.UserTimeout = 2 * time.Minute
	if again := Check(s); len(again) != 0 {
		t.Errorf("having done so: %+v", again)
	}
}

func TestIdleLimitsAreInOrder(t *testing.T) {
	for i := 1; i < len(idleLimits); i++ {
		if idleLimits[i].after <= idleLimits[i-1].after {
			t.Errorf("%+v follows %+v", idleLimits[i], idleLimits[i-1])
		}
	}
}

var snakeCase = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

func TestAnySettingsCanBeChecked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		duration := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.OneOf(rapid.Int64(), rapid.Int64Range(0, int64(3*time.Hour))).Draw(t, "d"))
		})
		number := rapid.OneOf(rapid.IntRange(0, 300), rapid.Int())
		warnings := Check(Settings{
			State:             event.State(rapid.Uint8Range(0, 20).Draw(t, "state")),
			Local:             rapid.Bool().Draw(t, "local"),
			KeepAlive:         rapid.Bool().Draw(t, "keepalive"),
			KeepaliveIdle:     duration.Draw(t, "idle"),
			KeepaliveInterval: duration.Draw(t, "interval"),
			KeepaliveCount:    number.Draw(t, "count"),
			UserTimeout:       duration.Draw(t, "user timeout"),
			Retries2:          number.Draw(t, "retries2"),
			RTO:               duration.Draw(t, "rto"),
			RTOMax:            duration.Draw(t, "rto max"),
			HZ:                rapid.IntRange(-1, 10000).Draw(t, "hz"),
			Orphan:            rapid.Bool().Draw(t, "orphan"),
			Idle:              duration.Draw(t, "silent"),
			InFlight:          rapid.Bool().Draw(t, "in flight"),
			Shut:              rapid.Bool().Draw(t, "shut"),
		})
		seen := make(map[string]bool)
		for _, w := range warnings {
			if seen[w.ID] || !snakeCase.MatchString(w.ID) {
				t.Fatalf("%+v: want an ID in snake case, and each once", w)
			}
			seen[w.ID] = true
			if w.Advice == "" || !strings.ContainsAny(w.Sentence, "0123456789") || strings.Contains(w.Sentence, "-") {
				t.Fatalf("%+v: want advice, and a sentence with numbers, none negative", w)
			}
		}
	})
}
