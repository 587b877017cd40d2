"""Programs that the documents call and a test can't: those of LVM and device-mapper, which change the
machine, and what is not installed everywhere. Each answers as the program does, if it is called with
arguments that stand here, and fails if it isn't."""

import os

LVS = """  LV                 Pool         Type       Chunk  MSize Devices
  [fast_cpool]                    cache-pool 64.00k 8.00m fast_cpool_cdata(0)
  [fast_cpool_cdata]              linear         0        /dev/vdb(0)
  [fast_cpool_cmeta]              linear         0        /dev/vdb(8)
  lv                 [fast_cpool] cache      64.00k       lv_corig(0)
  [lv_corig]                      linear         0        /dev/vda(0)
  [lvol0_pmspare]                 linear         0        /dev/vda(32)"""
# What a linear volume's table looks like; it is what makes the other device.
TABLE = "0 16384 linear 254:16 67584"
BAD_BLOCK = 5  # of the fast device, 64 KiB of which ddrescue can't read


def printing(text):
    return "" if not text else f"cat <<'END'\n{text}\nEND"


# {program: {arguments: what a shell does then}}
PROGRAMS = {
    "lvs": {"-a -o name,pool_lv,segtype,chunk_size,metadata_size,devices vg": printing(LVS)},
    "lvchange": {
        "-an vg/lv": "",
        "-y -ay vg/fast_cpool_cmeta": printing("  Allowing activation of component LV."),
        "-y -ay vg/fast_cpool_cdata": printing("  Allowing activation of component LV."),
        "-y -ay vg/lv_corig": printing("  Allowing activation of component LV."),
        "-an vg/fast_cpool_cmeta vg/fast_cpool_cdata vg/lv_corig": "",
        "-ay vg/lv": "",
    },
    "lvcreate": {"-an -L 16m -n new_meta vg": printing('  Logical volume "new_meta" created.')},
    "lvconvert": {
        # LVM calls cache_repair with an empty operand, and looks at nothing but its exit status.
        "--repair vg/lv": 'cache_repair "" -i "$meta" -o lvol0_pmspare || {\n'
                          "printf '  Repair of cache metadata volume of cache vg/lv failed "
                          "(status:%d). Manual repair required!\\n' $?\nexit 5\n}",
        "-y --swapmetadata --poolmetadata vg/new_meta vg/fast_cpool": "",
        "-y --uncache vg/lv": printing("  Flushing 0 blocks for cache vg/lv.\n"
                                       '  Logical volume "fast_cpool" successfully removed.\n'
                                       "  Logical volume vg/lv is not cached."),
    },
    "dmsetup": {
        "table vg-fast_cpool_cmeta": printing(TABLE),
        "table vg-lv_corig": printing(TABLE),
        "create rescue_cmeta": f'test "$(cat)" = "{TABLE}"',
        "create rescue_corig": f'test "$(cat)" = "{TABLE}"',
        "remove rescue_cmeta rescue_corig": "",
        "message vg-lv 0 migration_threshold 16384": "",
    },
    "ddrescue": {
        "-d -r3 cdata cdata.img cdata.map":
            f"cp cdata cdata.img\ndd if=/dev/zero of=cdata.img bs=64k seek={BAD_BLOCK} count=1 "
            "conv=notrunc status=none\n" + "cat > cdata.map <<'END'\n"
            "# Mapfile. Created by GNU ddrescue version 1.27\n0x00FF0000     +               1\n"
            f"0x00000000  0x{BAD_BLOCK << 16:08X}  +\n0x{BAD_BLOCK << 16:08X}  0x00010000  -\n"
            f"0x{(BAD_BLOCK + 1) << 16:08X}  0x{(255 - BAD_BLOCK) << 16:08X}  +\nEND"},
}


def write_stand_ins(folder):
    """Makes them, in a folder that comes first in PATH then."""
    for program, answers in PROGRAMS.items():
        cases = "".join(f"'{arguments}')\n{answer}\n;;\n" for arguments, answer in answers.items())
        path = folder / program
        path.write_text(f'#!/bin/bash\ncase "$*" in\n{cases}*)\n'
                        f'echo "{program}: nobody expects: $*" >&2\nexit 64\nesac\n')
        os.chmod(path, 0o755)
