# SPDX-License-Identifier: GPL-2.0-only
#
# What `cmake --install build` puts beside the two programs, which gateway/ installs itself.
set(SYSTEMD_UNIT_DIR lib/systemd/system CACHE STRING "Where systemd units go")
set(SYSUSERS_DIR lib/sysusers.d CACHE STRING "Where sysusers.d files go")
set(TMPFILES_DIR lib/tmpfiles.d CACHE STRING "Where tmpfiles.d files go")

# Where the daemon looks for it, whatever the prefix is; DESTDIR still goes before it.
install(FILES ${CMAKE_SOURCE_DIR}/etc/cordon.conf DESTINATION /etc/cordon)
install(DIRECTORY DESTINATION /etc/cordon/manufacturers)
install(FILES ${CMAKE_SOURCE_DIR}/packaging/man/cordond.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
install(FILES ${CMAKE_SOURCE_DIR}/packaging/man/cordon.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${CMAKE_SOURCE_DIR}/packaging/cordon.bash-completion
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME cordon)
install(FILES ${CMAKE_SOURCE_DIR}/packaging/man/cordon.conf.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES ${CMAKE_SOURCE_DIR}/packaging/cordon.sysusers DESTINATION ${SYSUSERS_DIR} RENAME cordon.conf)
install(FILES ${CMAKE_SOURCE_DIR}/packaging/cordon.tmpfiles DESTINATION ${TMPFILES_DIR} RENAME cordon.conf)

# The unit names the programs where they are installed.
file(READ ${CMAKE_SOURCE_DIR}/packaging/cordon.service unit)
string(REPLACE /usr/sbin/cordond ${CMAKE_INSTALL_FULL_SBINDIR}/cordond unit "${unit}")
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/cordon.service CONTENT "${unit}" @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/cordon.service DESTINATION ${SYSTEMD_UNIT_DIR})
