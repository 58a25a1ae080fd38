################################################################################
#
# otad
#
################################################################################

OTAD_VERSION = 0.1.0
# The tree that this external is in; replace by a release for a product:
# OTAD_SITE = $(call github,OWNER,otad,v$(OTAD_VERSION))
OTAD_SITE = $(realpath $(BR2_EXTERNAL_OTAD_PATH)/../..)
OTAD_SITE_METHOD = local

# Buildroot builds without a network, and vendors only what it downloads.
ifeq ($(BR_BUILDING)$(BR2_PACKAGE_OTAD),yy)
ifeq ($(wildcard $(OTAD_SITE)/vendor/modules.txt),)
$(error otad: run "go mod vendor" in $(OTAD_SITE) first)
endif
endif

OTAD_LICENSE = Apache-2.0
OTAD_LICENSE_FILES = LICENSE

OTAD_GOMOD = otad
OTAD_BUILD_TARGETS = cmd/otad
OTAD_GO_ENV = CGO_ENABLED=0
OTAD_TAGS = nethttpomithttp2
# The clock of a box without one begins when otad was built.
OTAD_BUILT = $(or $(SOURCE_DATE_EPOCH),$(shell git -C $(OTAD_SITE) log -1 --format=%ct 2>/dev/null || date +%s))
OTAD_LDFLAGS = -s -w -X main.release=$(OTAD_VERSION) -X main.built=$(OTAD_BUILT)

define OTAD_INSTALL_CONFIG
	mkdir -p $(TARGET_DIR)/etc/otad/trust $(TARGET_DIR)/etc/otad/health.d
	$(foreach f,$(call qstrip,$(BR2_PACKAGE_OTAD_CONFIG)),\
		$(INSTALL) -m 0644 $(f) $(TARGET_DIR)/etc/otad/otad.toml$(sep))
	$(foreach f,$(call qstrip,$(BR2_PACKAGE_OTAD_TRUST)),\
		$(INSTALL) -m 0644 $(f) $(TARGET_DIR)/etc/otad/trust/$(sep))
endef
OTAD_POST_INSTALL_TARGET_HOOKS += OTAD_INSTALL_CONFIG

define OTAD_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(OTAD_SITE)/build/init/S80otad \
		$(TARGET_DIR)/etc/init.d/S80otad
endef

define OTAD_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(OTAD_SITE)/build/systemd/otad.service \
		$(TARGET_DIR)/usr/lib/systemd/system/otad.service
endef

$(eval $(golang-package))
