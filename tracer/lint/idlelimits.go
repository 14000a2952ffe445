package lint

import (
	"fmt"
	"strings"
	"time"

	"tcptrace/tracer/timeline"
)

// idleLimit is how long something on the way remembers a connection on which nothing is sent.
type idleLimit struct {
	after time.Duration
	who   string
}

// idleLimits are the defaults of what is common, the shortest first. Those of HTTP proxies are not among them: they
// count requests, and no probe puts them off.
var idleLimits = []idleLimit{
	{4 * time.Minute, "Azure load balancers and NAT gateways"},
	{350 * time.Second, "AWS network load balancers and NAT gateways"},
	{10 * time.Minute, "Google Cloud firewalls"},
	{time.Hour, "many firewall appliances"},
	{2*time.Hour + 4*time.Minute, "the least that RFC 5382 allows a NAT"},
	{5 * 24 * time.Hour, "Linux connection tracking"},
}

// safeIdle is an idle time of keepalive that is below every common limit even with one probe lost.
const safeIdle = "2m or less"

// passed are the limits that come before, or when, a connection has been idle for d.
func passed(d time.Duration) []idleLimit {
	n := 0
	for n < len(idleLimits) && idleLimits[n].after <= d {
		n++
	}
	return idleLimits[:n]
}

// list writes limits for people.
func list(limits []idleLimit) string {
	words := make([]string, len(limits))
	for i, limit := range limits {
		words[i] = fmt.Sprintf("%s (%s)", timeline.FormatDuration(limit.after), limit.who)
	}
	return strings.Join(words, ", ")
}
