# What one can do with a checkout. Everything but `make generate` needs only Go.

GO ?= go
# No C in the binary: it runs on any kernel's userland.
export CGO_ENABLED = 0

BINARY = tcptrace
SOURCES = $(shell find bpf cmd prober tracer -name '*.go' -o -name '*.o') go.mod go.sum

.PHONY: all build demo test test-kernels bench install generate check-generated lint fuzz clean

all: build

build: $(BINARY)

$(BINARY): $(SOURCES)
	$(GO) build -trimpath -buildvcs=auto -o $@ ./cmd/tcptrace

# The main thing, in ten seconds: a connect that nobody answers, in throw-away network namespaces.
demo: build
	@./$(BINARY) lab no-answer

# Every test that this kernel and this user allow; what had to be skipped, and why, is said at the end. One package
# after the other, because some of them measure times.
test:
	$(GO) vet ./...
	$(GO) test -count 1 -p 1 -parallel 4 -json -timeout 600s ./... | $(GO) run ./scripts/testreport

# The kernel tests and all labs on Debian's kernels 5.10, 6.1, 6.12 and 7.x, in emulated guests, by each mechanism.
# KERNELS=6.1,7 and RUN=TestName choose some of it. What it downloads is kept in .cache.
test-kernels:
	$(GO) run ./scripts/matrix $(if $(KERNELS),-kernels $(KERNELS)) $(if $(RUN),-run '$(RUN)')

# What scan takes, in pairs with nmap -sT on the same 23,193 targets in network namespaces, and what a refresh costs beside a
# new socket; what a flood of SYNs costs listeners --follow, and whether it counts them all; what reading 1,000 listeners takes;
# what watch costs those it watches, in turns with bpftrace, and what a million connections leave in its memory. PART=scan,
# flood, cost or memory is one of them. Some eight minutes in all; the machine should have nothing else to do.
# PART=guest, which is not among them, counts the instructions that watch costs by each mechanism, in an emulated guest.
bench: build
ifeq ($(PART),guest)
	$(GO) run ./scripts/matrix -bench -kernels 6.12
else
	$(GO) run ./scripts/bench -tcptrace ./$(BINARY) $(if $(PART),-part $(PART))
	$(GO) test -run '^$$' -bench Refresh ./prober/scan
	$(GO) test -run '^$$' -bench ThousandListeners ./cmd/tcptrace
endif

install: build
	install -D -m 0755 $(BINARY) $(DESTDIR)/usr/local/bin/$(BINARY)

# The BPF objects and their Go side. They are committed; this is for who changes bpf/.
generate:
	@scripts/check-generate-tools
	cd tracer && $(GO) generate .

# Fails when the committed objects are not what the committed sources give.
check-generated: generate
	git diff --exit-code --stat -- 'tracer/bpf_*_bpfel.*'

lint:
	test -z "$$(gofmt -l $$(git ls-files '*.go' | grep -v '^tracer/bpf_'))"
	$(GO) vet ./...
	golangci-lint run

# Each parser of outside text, for a short while.
fuzz:
	scripts/fuzz

clean:
	rm -f $(BINARY)
