// Package counters reads the counters that the kernel keeps of a network namespace, and knows what those that matter mean.
//
// They are in /proc/net: netstat, snmp, snmp6, sockstat and sockstat6 of the namespace, softnet_stat of the whole host.
// Each is found by its name: columns have been inserted in the middle of these files more than once. What the kernel
// counts and the tables here do not know is read all the same.
package counters
