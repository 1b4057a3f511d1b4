# SPDX-License-Identifier: GPL-2.0-only
"""What `cmake --install` puts where, with the default prefix."""

import subprocess
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def test_the_configuration_is_where_the_daemon_reads_it(tmp_path):
    script = tmp_path / "CMakeLists.txt"
    script.write_text("cmake_minimum_required(VERSION 3.22)\nproject(installed NONE)\n"
                      "include(GNUInstallDirs)\n"
                      f'set(CMAKE_SOURCE_DIR "{REPO}")\ninclude("{REPO}/packaging/install.cmake")\n')
    build, root = tmp_path / "build", tmp_path / "root"
    subprocess.run(["cmake", "-S", tmp_path, "-B", build, "-DCMAKE_INSTALL_PREFIX=/usr/local"],
                   check=True, capture_output=True)
    subprocess.run(["cmake", "--install", build], check=True, capture_output=True,
                   env={"PATH": "/usr/bin:/bin", "DESTDIR": str(root)})
    header = (REPO / "gateway/config/config.h").read_text()
    path = header.split("#define GW_CONFIG_PATH")[1].split('"')[1]
    assert (root / path.lstrip("/")).read_text() == (REPO / "etc/cordon.conf").read_text()
    assert (root / "etc/cordon/manufacturers").is_dir()
    unit = (root / "usr/local/lib/systemd/system/cordon.service").read_text()
    assert "/usr/local/sbin/cordond" in unit
