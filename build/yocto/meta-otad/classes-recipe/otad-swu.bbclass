# Makes a signed artifact (.swu) of an image, beside it in the deploy directory.
#
#   inherit otad-swu                 # in the image recipe
#   OTAD_MODEL = "stv1"              # hardware-compatibility
#   OTAD_VERSION_CODE = "42"         # as published on the UpgradeLink server
#   OTAD_SIGN_KEY = "/keys/signer.key"
#   OTAD_SIGN_CERT = "/keys/signer.pem"
#
# The same code goes into the image, at OTAD_VERSION_FILE: a system that says
# another one than was offered is rolled back.

OTAD_MODEL ?= "${MACHINE}"
OTAD_VERSION_CODE ?= ""
OTAD_VERSION_FILE ?= "${sysconfdir}/otad/version"
OTAD_SIGN_KEY ?= ""
OTAD_SIGN_CERT ?= ""
OTAD_ROOTFS_TYPE ?= "ext4"
OTAD_COMPRESS ?= "zstd"
OTACTL ?= "${OTAD_TREE}/bin/otactl"

python () {
    for name in ("OTAD_VERSION_CODE", "OTAD_SIGN_KEY", "OTAD_SIGN_CERT"):
        if not d.getVar(name):
            bb.fatal("otad-swu: %s is not set" % name)
}

otad_write_version() {
    install -d ${IMAGE_ROOTFS}$(dirname ${OTAD_VERSION_FILE})
    echo ${OTAD_VERSION_CODE} > ${IMAGE_ROOTFS}${OTAD_VERSION_FILE}
}
ROOTFS_POSTPROCESS_COMMAND += "otad_write_version"

do_otad_swu() {
    ${OTACTL} pack --key ${OTAD_SIGN_KEY} --cert ${OTAD_SIGN_CERT} \
        --model ${OTAD_MODEL} --version ${OTAD_VERSION_CODE} --compress ${OTAD_COMPRESS} \
        --image rootfs=${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}.${OTAD_ROOTFS_TYPE} \
        -o ${IMGDEPLOYDIR}/${IMAGE_NAME}.swu
    ln -sf ${IMAGE_NAME}.swu ${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}.swu
}
addtask otad_swu after do_image_complete before do_build
do_otad_swu[nostamp] = "1"
