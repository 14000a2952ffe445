// Tcptrace says why a TCP connection did not work, and what the kernel did about it, when.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
