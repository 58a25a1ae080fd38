# otad: an over-the-air update agent for set-top boxes.
# `make help` lists what can be made.

GO      ?= go
export CGO_ENABLED = 0

# The version is the tag or the commit; the build time is the commit's, so that
# two builds of the same commit are the same.
RELEASE ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILT   ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
LDFLAGS := -s -w -X main.release=$(RELEASE) -X main.built=$(BUILT)
# HTTP/2 is not used (one stream at a time, least memory) and weighs half a MiB.
# Calls are inlined only where every byte of an image passes: elsewhere that costs
# a MiB and gains little (docs/footprint.md).
INLINED := internal/runtime/... internal/abi internal/bytealg internal/byteorder internal/sync sync/... math/bits \
  encoding/binary bytes bufio io unicode/utf8 hash/... \
  crypto/internal/fips140deps/... $(addprefix crypto/internal/fips140/,subtle alias sha256 aes/...) \
  $(addprefix vendor/golang.org/x/crypto/,chacha20/... chacha20poly1305 internal/...) \
  github.com/klauspost/compress/... github.com/ulikunitz/xz/lzma
GCFLAGS := -gcflags=all=-l $(patsubst %,-gcflags=%=,$(INLINED))
# A page of memory on 32-bit ARM is 4 KiB; Go leaves room for pages of 64 KiB, which
# a few servers and network disks have: PAGE_arm=65536 is for them.
PAGE_arm ?= 4096
build_for = $(GO) build -trimpath -tags nethttpomithttp2 $(GCFLAGS) -ldflags '$(LDFLAGS)$(if $(PAGE_$1), -R $(PAGE_$1))'
BUILD    := $(call build_for,)

PROGRAMS := otad otactl otalab

.PHONY: help
help: ## what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## the three programs, into bin/
	@mkdir -p bin
	$(BUILD) -o bin/ $(addprefix ./cmd/,$(PROGRAMS))

.PHONY: demo
demo: build ## a box goes from version 1 to 2, rolls back from 3, refuses 4 (under two minutes)
	bin/otalab demo

.PHONY: test
test: ## all tests, with the race detector
	CGO_ENABLED=1 $(GO) test -race -timeout 40m ./...

.PHONY: check
check: ## format, vet, staticcheck, and shellcheck where it is
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "not formatted:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@if command -v shellcheck >/dev/null; then shellcheck -S warning $$(git ls-files .ci build | xargs awk 'FNR == 1 && /^#!.*sh/ { print FILENAME }'); \
	  elif [ -n "$$CI" ]; then echo "shellcheck is not installed" >&2; exit 1; fi
	$(GO) mod verify

# Where the firmware and the artifacts of the measurement are made (5 GB), how
# often each row is run, and which ones, as a regular expression over `local NAME`
# and `stream NAME`; the page is written when all are.
BENCH_DIR ?= bin/bench
ROUNDS    ?= 5
ONLY      ?=

.PHONY: bench
bench: build bench-go ## otad beside the other installers of Debian (root, about a quarter of an hour): docs/benchmarks.md
	build/bench/tools.sh
	nice build/bench/firmware.sh $(BENCH_DIR)
	$(GO) build -o bin/otad-bench ./build/bench
	bin/otad-bench -dir $(BENCH_DIR) -rounds $(ROUNDS) -only '$(ONLY)' $(if $(ONLY)$(filter 0,$(ROUNDS)),,-docs docs/benchmarks.md)

.PHONY: bench-go
bench-go: ## measure hot paths alone: hashing, unpacking, writing a slot, reading it back
	@mkdir -p $(BENCH_DIR)
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 100ms -count 6 ./ota/... ./board >$(BENCH_DIR)/go.txt
	$(GO) tool benchstat -filter '.unit:(B/s OR B/op)' otad=$(BENCH_DIR)/go.txt | tee $(BENCH_DIR)/benchstat.txt

# Every kind of box that we build for.
TARGETS := arm,GOARM=5 arm,GOARM=6 arm,GOARM=7 arm64 mipsle,GOMIPS=softfloat riscv64 amd64

.PHONY: cross
cross: ## otad for every kind of box, into bin/
	@mkdir -p bin
	@set -e; $(foreach target,$(TARGETS),$(call cross_to,$(subst $(comma), ,$(target))))
	@bytes=$$(cat bin/otad-linux-arm7 2>/dev/null | wc -c); [ $$bytes -le $(MOST_BYTES) ] || \
	  { echo "otad for ARMv7 has $$bytes bytes, more than $(MOST_BYTES): see docs/footprint.md" >&2; exit 1; }

# What otad for ARMv7 may weigh: the target is 9 MiB, a quarter is for what comes.
MOST_BYTES := 9699328

.PHONY: footprint
footprint: cross ## write the sizes of `make cross` into docs/footprint.md
	build/footprint.sh bin docs/footprint.md

comma := ,
# The words of a target are its GOARCH and, if it has one, its variant.
program_of = bin/otad-linux-$(firstword $1)$(lastword $(subst =, ,$(word 2,$1)))
define cross_to
GOOS=linux GOARCH=$(firstword $1) $(word 2,$1) $(call build_for,$(firstword $1)) -o $(call program_of,$1) ./cmd/otad; \
printf '%-32s %9d bytes\n' $(call program_of,$1) $$(wc -c <$(call program_of,$1));
endef

.PHONY: reproducible
reproducible: cross ## build otad for ARMv7 again, in another place and from nothing: the same bytes
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	git ls-files -z | xargs -0 cp --parents -t "$$dir"; cd "$$dir"; \
	GOOS=linux GOARCH=arm GOARM=7 GOCACHE="$$dir/cache" $(call build_for,arm) -o "$$dir/again" ./cmd/otad; \
	cmp "$$dir/again" '$(CURDIR)/bin/otad-linux-arm7'; sha256sum "$$dir/again" | sed 's/ .*/  twice the same/'

# Debian's names of what `make cross` builds.
DEB_VERSION := $(shell echo '$(RELEASE)' | sed -n 's/^v\{0,1\}\([0-9].*\)/\1/p')
DEB_VERSION := $(or $(DEB_VERSION),0~$(RELEASE))

.PHONY: deb
deb: cross ## Debian packages for amd64, arm64 and armhf, into bin/
	@set -e; for pair in amd64:amd64 arm64:arm64 armhf:arm7; do \
	  build/deb/build.sh $${pair%:*} bin/otad-linux-$${pair#*:} '$(DEB_VERSION)' bin/otad_$${pair%:*}.deb; \
	done

.PHONY: deb-check
deb-check: deb ## install the package into a clean Debian and let systemd judge the unit (root, debootstrap)
	build/deb/check.sh bin/otad_amd64.deb

.PHONY: sbom
sbom: cross ## the bill of materials (CycloneDX) beside each binary of `make cross`
	@set -e; for program in bin/otad-linux-*; do \
	  case $$program in *.json) continue;; esac; \
	  $(GO) run ./build/sbom $$program >$$program.cdx.json; echo $$program.cdx.json; \
	done

.PHONY: system
system: build ## the system tests alone: the real programs against real servers, brokers and tools
	build/install-test-tools.sh
	CGO_ENABLED=1 CI=true $(GO) test -race -count=1 -v -timeout 15m ./cmd/...

.PHONY: boxes
boxes: build ## virtual boxes, ARMv7 and arm64 with a real U-Boot, into bin/vbox
	build/install-test-tools.sh
	$(MAKE) cross TARGETS='arm,GOARM=7 arm64'
	build/vbox/fetch.sh bin/vbox arm64 armhf
	build/vbox/mkbox.sh bin/vbox arm64 bin/otad-linux-arm64 bin/otactl
	build/vbox/mkbox.sh bin/vbox armhf bin/otad-linux-arm7 bin/otactl

# How often the power is cut on each box; which tests run; SHORT=1 leaves out on
# ARMv7 what is much the same as on arm64, and follows most power cuts only
# until the update is under way again. A box waits now and then: three at a time.
POWERCUTS ?= 10
RUN       ?= .
SHORT     ?=

.PHONY: e2e
e2e: boxes ## updates on the virtual boxes, with power cuts; POWERCUTS=200 for the full run
	CI=true E2E=$(CURDIR)/bin/vbox E2E_POWERCUTS=$(POWERCUTS) E2E_SHORT=$(SHORT) $(GO) test -count=1 -v -parallel 3 -timeout 4h -run '$(RUN)' ./build/vbox

.PHONY: crash
crash: ## cut the power at every durable call of an update, in every way (about five minutes)
	CRASH=all $(GO) test -count=1 -timeout 60m -v -run '^TestCrash' ./agent

.PHONY: kill
kill: ## kill the real otad at random instants of 300 updates, on three boards (about five minutes)
	KILL_ROUNDS=100 $(GO) test -count=1 -timeout 60m -v -run '^TestKillRounds' ./cmd/otad

.PHONY: faults
faults: ## broken lines, hosts and artifacts of 160 MiB, with the waits of a box (about five minutes)
	FAULT_MATRIX=full $(GO) test -count=1 -v -timeout 30m -run FaultMatrix ./cmd/otad

.PHONY: stampede
stampede: ## 2,000 boxes, a mosquitto that dies, and two commands: how many requests a second (under a minute)
	$(GO) test -count=1 -v -run '^TestNoStampede' ./cmd/otactl

.PHONY: clean
clean: ## remove what was made
	rm -rf bin .lab
