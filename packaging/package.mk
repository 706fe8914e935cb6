# Packages and the container image. All that goes into them is collected in target/package, with the times of the last
# commit, so that the same source gives the same files.

PACKAGE := target/package
TOOLS := target/tools
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

CHART := packaging/kubernetes/chart/Chart.yaml

.PHONY: repository
repository: ## set the project's address in all metadata: URL=https://...
	@[[ -n "$(URL)" ]] || { echo "say where: make repository URL=https://..." >&2; exit 1; }
	@sed -i 's|^repository = ".*"|repository = "$(URL)"|' Cargo.toml
	@sed -i 's|^home: .*|home: $(URL)|; s|^sources: .*|sources: [$(URL)]|' $(CHART)

.PHONY: man
man: linker ## man pages and the shells' completions
	@rm -rf $(PACKAGE)/man $(PACKAGE)/completions
	@cargo run --quiet --locked --package xtask -- man $(PACKAGE)/man
	@cargo run --quiet --locked --package xtask -- completions $(PACKAGE)/completions

# Everything that goes into a package and is not in the repository.
.PHONY: package-files
package-files: build man
	@install -m 0755 $(BIN) $(PACKAGE)/strict-groups
	@ln -sfn strict-groups $(PACKAGE)/strict-groups-runtime
	@scripts/debian-changelog.sh >$(PACKAGE)/changelog
	@find $(PACKAGE) -newermt "@$(SOURCE_DATE_EPOCH)" -exec touch --no-dereference --date="@$(SOURCE_DATE_EPOCH)" {} +

.PHONY: packagers
packagers: linker
	@scripts/get-tools.sh $(TOOLS) cargo-deb@3.8.0 cargo-generate-rpm@0.21.1

# cargo-deb's work folder has the name of the package, which is that of our binary in target/.
.PHONY: deb
deb: package-files packagers ## the Debian package, target/package/*.deb
	@rm -f $(PACKAGE)/*.deb
	@CARGO_TARGET_DIR=$(PACKAGE)/work $(TOOLS)/bin/cargo-deb --quiet --no-build --no-strip --output $(PACKAGE)/

.PHONY: rpm
rpm: package-files packagers ## the RPM package, target/package/*.rpm
	@rm -f $(PACKAGE)/*.rpm
	@$(TOOLS)/bin/cargo-generate-rpm --auto-req disabled --source-date $(SOURCE_DATE_EPOCH) --output $(PACKAGE)/
	@ls $(PACKAGE)/*.rpm

.PHONY: image
image: build ## the container image, an OCI layout: target/package/image
	@packaging/image.sh $(BIN) $(PACKAGE)/image

# What goes into the binary for this target. cargo-cyclonedx writes beside the Cargo.toml of each crate.
.PHONY: sbom
sbom: linker
	@scripts/get-tools.sh $(TOOLS) cargo-cyclonedx@0.5.9
	@mkdir -p $(PACKAGE)
	@PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps \
	  --target $(TARGET) --override-filename sbom.cdx
	@# Where it was built is nobody's business.
	@sed 's|path+file://$(CURDIR)|path+|g' sbom.cdx.json >$(PACKAGE)/sbom.cdx.json
	@rm sbom.cdx.json crates/*/sbom.cdx.json xtask/sbom.cdx.json

.PHONY: dist
dist: root deb rpm image sbom ## a release: tarball, packages, image, SBOM and checksums, target/dist
	@packaging/dist.sh $(PACKAGE) target/dist
	@scripts/check-dist.sh target/dist

.PHONY: manifests
manifests: ## check the Kubernetes manifests and the chart, offline
	@scripts/check-manifests.sh $(TOOLS)

.PHONY: unit
unit: ## check the systemd unit and its sandbox
	@scripts/check-unit.sh

.PHONY: packages
packages: root deb rpm image ## check the packages and the image: contents, install, upgrade, remove
	@scripts/check-packages.sh $(PACKAGE)
