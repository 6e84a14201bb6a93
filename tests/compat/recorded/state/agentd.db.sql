BEGIN TRANSACTION;
CREATE TABLE decisions (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, job TEXT NOT NULL,
        run_id TEXT NOT NULL, reason TEXT NOT NULL);
INSERT INTO "decisions" VALUES(1,1779308838678131,'retry','again','again.11','attempt 1 ended with exit-code; retry 1 of 2 in 100ms');
INSERT INTO "decisions" VALUES(2,1779308838784415,'retry','again','again.17','attempt 2 ended with exit-code; retry 2 of 2 in 200ms');
INSERT INTO "decisions" VALUES(3,1779308839019742,'stop','waits','waits.20','asked to stop');
INSERT INTO "decisions" VALUES(4,1779308839019742,'stop','waits','waits.19','asked to stop');
INSERT INTO "decisions" VALUES(5,1779308844053558,'stop','held','held.18','agentd was stopped');
INSERT INTO "decisions" VALUES(6,1795638749955741,'skip','yearly','','its due time had passed (missed: skip)');
INSERT INTO "decisions" VALUES(7,1795638749955741,'skip','skips','','its due time had passed (missed: skip)');
INSERT INTO "decisions" VALUES(8,1795638751594435,'retry','later','later.34','attempt 1 ended with exit-code; retry 1 of 3 in 20w');
INSERT INTO "decisions" VALUES(9,1795638751619690,'interval','feed','','increase: every 26w to 121d 8h');
INSERT INTO "decisions" VALUES(10,1795638751622978,'interval','feed','','increase: every 121d 8h to 13w');
INSERT INTO "decisions" VALUES(11,1795638751629931,'interval','feed','','decrease: every 13w to 136d 12h');
INSERT INTO "decisions" VALUES(12,1795638751637719,'interval','set','','set to every 13w');
INSERT INTO "decisions" VALUES(13,1795638751650422,'disable','off','','disabled by hand');
INSERT INTO "decisions" VALUES(14,1795638751654033,'reset','steady','','back to the configuration');
INSERT INTO "decisions" VALUES(15,1795638751656310,'reset','ok','','back to the configuration');
INSERT INTO "decisions" VALUES(16,1795638752831143,'reboot','','','reboot 1 (manual): new firmware');
INSERT INTO "decisions" VALUES(17,1795638752831143,'reboot','','','reboot 1 is announced');
INSERT INTO "decisions" VALUES(18,1795638752831143,'reboot','','','reboot 1 is draining');
INSERT INTO "decisions" VALUES(19,1795638752831143,'reboot','','','reboot 1 is locked');
INSERT INTO "decisions" VALUES(20,1795638752838436,'reboot','','','reboot 1 is issued');
INSERT INTO "decisions" VALUES(21,1795638752856286,'reboot','','','the machine is going down');
INSERT INTO "decisions" VALUES(22,1795638754270627,'reboot','','','reboot 1 verified: down for 1s');
INSERT INTO "decisions" VALUES(23,1795638754481425,'reboot','','','after reboot 1 the machine is fails.36: exit-code');
INSERT INTO "decisions" VALUES(24,1795638754535549,'reboot','','','reboot 2 (manual): asked for by hand');
INSERT INTO "decisions" VALUES(25,1795638754550628,'reboot','','','reboot 2 cancelled: taken back by root');
INSERT INTO "decisions" VALUES(26,1795638755995304,'reboot','','','reboot 3 (request): the disk is worn');
INSERT INTO "decisions" VALUES(27,1795638756045978,'reboot','','','reboot 3 waits: backup-tool (process 7 of root) holds the machine up: copying');
INSERT INTO "decisions" VALUES(28,1795638757495436,'reboot','','','reboot 3 deferred: backup-tool (process 7 of root) holds the machine up: copying');
INSERT INTO "decisions" VALUES(29,1795638757505044,'reboot','','','reboot 4 (rule disk): the disk is worn');
INSERT INTO "decisions" VALUES(30,1795638758460660,'reboot','','','reboot 4: the machine booted before it was asked to');
INSERT INTO "decisions" VALUES(31,1795638759502126,'reboot','','','reboot 5 (nightly): the window 2026-11-25 20:31');
INSERT INTO "decisions" VALUES(32,1795638759546953,'reboot','','','reboot 5 is announced');
INSERT INTO "decisions" VALUES(33,1795638759546953,'reboot','','','reboot 5 is draining');
INSERT INTO "decisions" VALUES(34,1795638759599106,'reboot','','','reboot 5 is locked');
INSERT INTO "decisions" VALUES(35,1795638759634470,'reboot','','','reboot 5 is issued');
INSERT INTO "decisions" VALUES(36,1795638760724749,'reboot','','','reboot 5 verified: down for 1s');
INSERT INTO "decisions" VALUES(37,1795638760925514,'reboot','','','after reboot 5 the machine is well');
INSERT INTO "decisions" VALUES(38,1795638762012185,'reboot','','','reboot 6 (rule leak): the memory is full');
INSERT INTO "decisions" VALUES(39,1795638762030162,'reboot','','','reboot 6 is announced');
INSERT INTO "decisions" VALUES(40,1795638762030162,'reboot','','','reboot 6 is draining');
INSERT INTO "decisions" VALUES(41,1795638762088182,'reboot','','','reboot 6 is locked');
INSERT INTO "decisions" VALUES(42,1795638762114150,'reboot','','','reboot 6 is issued');
INSERT INTO "decisions" VALUES(43,1795638762117979,'reboot','','','the machine is going down');
INSERT INTO "decisions" VALUES(44,1795638764318533,'reboot','','','reboot 6 verified: down for 2s');
INSERT INTO "decisions" VALUES(45,1795638764541556,'reboot','','','after reboot 6 the machine is well');
INSERT INTO "decisions" VALUES(46,1795638764584444,'reboot','','','the breaker of rule leak opened: reboot 6 did not cure it: the same cause came again 0s after the boot');
INSERT INTO "decisions" VALUES(47,1795638766924307,'reboot','','','reboot 7 (manual): asked for by hand');
INSERT INTO "decisions" VALUES(48,1795638766947939,'reboot','','','reboot 7 waits: the machine has no id that a fleet could know it by; see machine-id(5)');
INSERT INTO "decisions" VALUES(49,1795638766962415,'reboot','','','reboot 7 cancelled: taken back by root');
INSERT INTO "decisions" VALUES(50,1795638767003981,'reboot','','','reboot 8 (manual): new disks');
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "facts" VALUES('boot','boot-5 1795638764212290');
INSERT INTO "facts" VALUES('reboot-guards','{"breakers":{"rule leak":"reboot 6 did not cure it: the same cause came again 0s after the boot"},"lost":"","slot":true,"forgiven":0}');
CREATE TABLE jobs (job TEXT PRIMARY KEY, state TEXT NOT NULL);
INSERT INTO "jobs" VALUES('ok','{"schedule":"by hand only Europe/Berlin 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('speaks','{"schedule":"by hand only UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('fails','{"schedule":"by hand only UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('dies','{"schedule":"by hand only UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('slow','{"schedule":"by hand only UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('again','{"schedule":"by hand only UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('later','{"schedule":"by hand only UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('absent','{"schedule":"by hand only UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('waits','{"schedule":"by hand only UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('held','{"schedule":"by hand only UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('renewed','{"schedule":"by hand only UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('chain','{"schedule":"after ok UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('steady','{"schedule":"every 26w UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1795033633557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('feed','{"schedule":"adaptive, from 26w (13w to 52w) UTC 0","anchor":1795033633557695,"since":1779308833557695,"handled":1795033633557695,"past":[],"interval":11793600000000,"enabled":null,"preference":1,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('set','{"schedule":"every 26w UTC 0","anchor":1795033633557695,"since":1779308833557695,"handled":1795033633557695,"past":[],"interval":7862400000000,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('off','{"schedule":"every 26w UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1795033633557695,"past":[],"interval":null,"enabled":false,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('skips','{"schedule":"every 26w UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1795033633557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"its due time had passed (missed: skip)","last_skip_at":1795638749955741}');
INSERT INTO "jobs" VALUES('yearly','{"schedule":"cron 0 0 1 8 * UTC 0","anchor":1779308833557695,"since":1795638749955741,"handled":1795638749955741,"past":[[1779308833557695,1779308833557695]],"interval":null,"enabled":null,"preference":0,"last_skip":"its due time had passed (missed: skip)","last_skip_at":1795638749955741}');
INSERT INTO "jobs" VALUES('leap','{"schedule":"cron 30 2 29 2 * UTC 0 disabled","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('mornings','{"schedule":"at 06:30, 18:00 mon-fri Europe/Berlin 0 disabled","anchor":1779308833557695,"since":1779308833557695,"handled":1779308833557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('tick','{"schedule":"every 1s UTC 0 disabled","anchor":1779308835557695,"since":1779308833557695,"handled":1779308836557695,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('once','{"schedule":"cron * * * * * UTC 0 disabled","anchor":1795638749886378,"since":1795638749886378,"handled":1795638749886378,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('all','{"schedule":"cron * * * * * UTC 0 disabled","anchor":1795638749886378,"since":1795638749886378,"handled":1795638749886378,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('none','{"schedule":"cron * * * * * UTC 0 disabled","anchor":1795638749886378,"since":1795638749886378,"handled":1795638749886378,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('within','{"schedule":"cron * * * * * UTC 0 disabled","anchor":1795638749886378,"since":1795638749886378,"handled":1795638749886378,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
INSERT INTO "jobs" VALUES('by-boot','{"schedule":"1s after boot UTC 0","anchor":1779308833557695,"since":1779308833557695,"handled":1795638765212290,"past":[],"interval":null,"enabled":null,"preference":0,"last_skip":"","last_skip_at":0}');
CREATE TABLE reboots (id INTEGER PRIMARY KEY, state TEXT NOT NULL, cause TEXT NOT NULL, record TEXT NOT NULL);
INSERT INTO "reboots" VALUES(1,'verified','manual','{"id":1,"cause":"manual","reason":"new firmware","kind":"reboot","automatic":false,"occurrence":"","force_users":false,"owner":"root","requested":1795638752831143,"begin":1795638752831143,"until":1795639652831143,"at":1795638752831143,"state":"verified","boot":"boot-1","issued":1795638752838436,"down":1795638752856286,"up":1795638754270627,"led_to":"boot-2","attempts":0,"note":"","health":"fails.36: exit-code"}');
INSERT INTO "reboots" VALUES(2,'cancelled','manual','{"id":2,"cause":"manual","reason":"asked for by hand","kind":"kexec","automatic":false,"occurrence":"","force_users":false,"owner":"root","requested":1795638754535549,"begin":1795642354501803,"until":1795645954501803,"at":0,"state":"cancelled","boot":"boot-2","issued":0,"down":0,"up":0,"led_to":"","attempts":0,"note":"taken back by root","health":""}');
INSERT INTO "reboots" VALUES(3,'deferred','request','{"id":3,"cause":"request","reason":"the disk is worn","kind":"reboot","automatic":true,"occurrence":"","force_users":false,"owner":"","requested":1795638755995304,"begin":1795638755995304,"until":1795638757495304,"at":0,"state":"deferred","boot":"boot-2","issued":0,"down":0,"up":0,"led_to":"","attempts":0,"note":"backup-tool (process 7 of root) holds the machine up: copying","health":""}');
INSERT INTO "reboots" VALUES(4,'superseded','rule disk','{"id":4,"cause":"rule disk","reason":"the disk is worn","kind":"reboot","automatic":true,"occurrence":"","force_users":false,"owner":"","requested":1795638757505044,"begin":1795638757505044,"until":1795660357505044,"at":0,"state":"superseded","boot":"boot-2","issued":0,"down":0,"up":0,"led_to":"","attempts":0,"note":"the machine booted before it was asked to","health":""}');
INSERT INTO "reboots" VALUES(5,'verified','nightly','{"id":5,"cause":"nightly","reason":"the window 2026-11-25 20:31","kind":"reboot","automatic":true,"occurrence":"2026-11-25 20:31","force_users":false,"owner":"","requested":1795638759502126,"begin":1795638660000000,"until":1795649460000000,"at":1795638759546953,"state":"verified","boot":"boot-3","issued":1795638759634470,"down":1795638759634470,"up":1795638760724749,"led_to":"boot-4","attempts":0,"note":"","health":"well"}');
INSERT INTO "reboots" VALUES(6,'verified','rule leak','{"id":6,"cause":"rule leak","reason":"the memory is full","kind":"reboot","automatic":true,"occurrence":"","force_users":false,"owner":"","requested":1795638762012185,"begin":1795638762012185,"until":1795660362012185,"at":1795638762030162,"state":"verified","boot":"boot-4","issued":1795638762114150,"down":1795638762117979,"up":1795638764318533,"led_to":"boot-5","attempts":0,"note":"","health":"well"}');
INSERT INTO "reboots" VALUES(7,'cancelled','manual','{"id":7,"cause":"manual","reason":"asked for by hand","kind":"reboot","automatic":false,"occurrence":"","force_users":false,"owner":"root","requested":1795638766924307,"begin":1795640566864978,"until":1795644166864978,"at":0,"state":"cancelled","boot":"boot-5","issued":0,"down":0,"up":0,"led_to":"","attempts":0,"note":"taken back by root","health":""}');
INSERT INTO "reboots" VALUES(8,'waiting','manual','{"id":8,"cause":"manual","reason":"new disks","kind":"reboot","automatic":false,"occurrence":"","force_users":false,"owner":"root","requested":1795638767003981,"begin":1795746766969687,"until":1795750366969687,"at":0,"state":"waiting","boot":"boot-5","issued":0,"down":0,"up":0,"led_to":"","attempts":0,"note":"","health":""}');
CREATE TABLE runs (
        seq INTEGER PRIMARY KEY, job TEXT NOT NULL, due INTEGER NOT NULL, cause TEXT NOT NULL,
        attempt INTEGER NOT NULL, state TEXT NOT NULL, not_before INTEGER NOT NULL, started INTEGER NOT NULL,
        ended INTEGER NOT NULL, result TEXT NOT NULL, exit_code INTEGER, signal TEXT NOT NULL,
        cpu_usec INTEGER NOT NULL, peak_memory INTEGER NOT NULL, progress TEXT NOT NULL, reason TEXT NOT NULL,
        tail TEXT NOT NULL, invocation TEXT NOT NULL DEFAULT '');
INSERT INTO "runs" VALUES(1,'by-boot',1779308834477741,'schedule',1,'ended',1779308834477741,1779308834480766,1779308834482796,'success',0,'',1112,13594624,'','','','');
INSERT INTO "runs" VALUES(2,'tick',1779308834557695,'schedule',1,'ended',1779308834557695,1779308834563245,1779308834563357,'success',0,'',1150,13594624,'','','','');
INSERT INTO "runs" VALUES(3,'tick',1779308835557695,'schedule',1,'ended',1779308835557695,1779308835558513,1779308835561293,'success',0,'',1235,13594624,'','','','');
INSERT INTO "runs" VALUES(4,'ok',1779308838014972,'manual',1,'ended',1779308838014972,1779308838216371,1779308838216485,'success',0,'',1062,13594624,'','','done
','');
INSERT INTO "runs" VALUES(5,'chain',1779308838217122,'after',1,'ended',1779308838217122,1779308838243088,1779308838243180,'success',0,'',1097,13594624,'','after ok.4','','');
INSERT INTO "runs" VALUES(6,'speaks',1779308838260097,'manual',1,'ended',1779308838260097,1779308838284275,1779308838289693,'success',0,'',1283,13594624,'','','one
two
three
four
','');
INSERT INTO "runs" VALUES(7,'fails',1779308838309005,'manual',1,'ended',1779308838309005,1779308838313561,1779308838314881,'exit-code',3,'',1227,13594624,'','','no
','');
INSERT INTO "runs" VALUES(8,'dies',1779308838328143,'manual',1,'ended',1779308838328143,1779308838332488,1779308838332570,'signal',NULL,'SIGTERM',1210,13594624,'','','','');
INSERT INTO "runs" VALUES(9,'slow',1779308838361825,'manual',1,'ended',1779308838361825,1779308838364035,1779308838665143,'timeout',NULL,'SIGTERM',2721,13594624,'','','','');
INSERT INTO "runs" VALUES(10,'again',1779308838670260,'manual',1,'ended',1779308838670260,1779308838671882,1779308838677926,'exit-code',1,'',1053,13594624,'','','','');
INSERT INTO "runs" VALUES(11,'again',1779308838670260,'retry',2,'ended',1779308838778131,1779308838780063,1779308838784071,'exit-code',1,'',1397,13594624,'','attempt 1 ended with exit-code; retry 1 of 2 in 100ms','','');
INSERT INTO "runs" VALUES(12,'absent',1779308838686383,'manual',1,'ended',1779308838686383,1779308838688167,1779308838688167,'start-failed',NULL,'',0,0,'','cannot run /no/such/program: No such file or directory','','');
INSERT INTO "runs" VALUES(13,'ok',1779308838691030,'manual',1,'ended',1779308838691030,1779308838704598,1779308838709694,'success',0,'',1753,13594624,'','','done
','');
INSERT INTO "runs" VALUES(14,'chain',1779308838710979,'after',1,'ended',1779308838710979,1779308838720553,1779308838721465,'success',0,'',778,13594624,'','after ok.13','','');
INSERT INTO "runs" VALUES(15,'feed',1779308838725072,'manual',1,'ended',1779308838725072,1779308838729830,1779308838729883,'success',0,'',923,13594624,'','','','');
INSERT INTO "runs" VALUES(16,'set',1779308838739960,'manual',1,'ended',1779308838739960,1779308838746534,1779308838746608,'success',0,'',1059,13594624,'','','','');
INSERT INTO "runs" VALUES(17,'again',1779308838670260,'retry',3,'ended',1779308838984415,1779308838995437,1779308839001518,'exit-code',1,'',1411,13594624,'','attempt 2 ended with exit-code; retry 2 of 2 in 200ms','','');
INSERT INTO "runs" VALUES(18,'held',1779308839010239,'manual',1,'ended',1779308839010239,1779308839011948,1779308844060234,'interrupted',NULL,'SIGTERM',338292,13594624,'half of it','','','');
INSERT INTO "runs" VALUES(19,'waits',1779308839016022,'manual',1,'ended',1779308839016022,1779308839020403,1779308839033974,'stopped',NULL,'SIGTERM',1499,13594624,'','','','');
INSERT INTO "runs" VALUES(20,'waits',1779308839018066,'manual',1,'ended',1779308839018066,0,1779308839019742,'cancelled',NULL,'',0,0,'','asked to stop','','');
INSERT INTO "runs" VALUES(21,'all',1779308880000000,'missed',1,'ended',1779309148224475,1779309148441210,1779309148448563,'success',0,'',1128,13627392,'','','','');
INSERT INTO "runs" VALUES(22,'all',1779308940000000,'missed',1,'ended',1779309148224475,1779309148459691,1779309148465612,'success',0,'',1167,13627392,'','','','');
INSERT INTO "runs" VALUES(23,'all',1779309000000000,'missed',1,'ended',1779309148224475,1779309148484009,1779309148489570,'success',0,'',1153,13627392,'','','','');
INSERT INTO "runs" VALUES(24,'all',1779309060000000,'missed',1,'ended',1779309148224475,1779309148506776,1779309148506863,'success',0,'',1126,13627392,'','','','');
INSERT INTO "runs" VALUES(25,'all',1779309120000000,'missed',1,'ended',1779309148224475,1779309148512651,1779309148512749,'success',0,'',1124,13627392,'','','','');
INSERT INTO "runs" VALUES(26,'none',1779309120000000,'missed',1,'ended',1779309148224475,1779309148448077,1779309148449956,'success',0,'',1250,13627392,'','earlier due times were missed (missed: skip)','','');
INSERT INTO "runs" VALUES(27,'once',1779309120000000,'missed',1,'ended',1779309148224475,1779309148448468,1779309148453483,'success',0,'',932,13627392,'','earlier due times were missed (missed: once)','','');
INSERT INTO "runs" VALUES(28,'within',1779309120000000,'missed',1,'ended',1779309148224475,1779309148445133,1779309148448654,'success',0,'',938,13627392,'','earlier due times were missed (missed: within)','','');
INSERT INTO "runs" VALUES(29,'feed',1795033633557695,'missed',1,'ended',1795638749955741,1795638750090950,1795638750097224,'success',0,'',1368,13717504,'','made up for once (missed: once)','','');
INSERT INTO "runs" VALUES(30,'off',1795033633557695,'missed',1,'ended',1795638749955741,1795638750095835,1795638750097261,'success',0,'',1065,13717504,'','made up for once (missed: once)','','');
INSERT INTO "runs" VALUES(31,'set',1795033633557695,'missed',1,'ended',1795638749955741,1795638750097010,1795638750097289,'success',0,'',821,13717504,'','made up for once (missed: once)','','');
INSERT INTO "runs" VALUES(32,'steady',1795033633557695,'missed',1,'ended',1795638749955741,1795638750077687,1795638750097145,'success',0,'',1066,13717504,'','made up for once (missed: once)','','');
INSERT INTO "runs" VALUES(33,'later',1795638751430259,'manual',1,'ended',1795638751430259,1795638751593529,1795638751593669,'exit-code',4,'',1292,13602816,'','','','');
INSERT INTO "runs" VALUES(34,'later',1795638751430259,'retry',2,'queued',1807734751594435,0,0,'',NULL,'',0,0,'','attempt 1 ended with exit-code; retry 1 of 3 in 20w','','');
INSERT INTO "runs" VALUES(35,'fails',1795638751601789,'manual',1,'ended',1795638751601789,1795638751604629,1795638751613564,'exit-code',3,'',1412,13602816,'','','no
','');
INSERT INTO "runs" VALUES(36,'fails',1795638754470798,'hook',1,'ended',1795638754470798,1795638754474033,1795638754480900,'exit-code',3,'',1315,13627392,'','','no
','');
INSERT INTO "runs" VALUES(37,'by-boot',1795638755251845,'schedule',1,'ended',1795638755978382,1795638756161864,1795638756162012,'success',0,'',1143,13627392,'','','','');
INSERT INTO "runs" VALUES(38,'by-boot',1795638759363575,'schedule',1,'ended',1795638759509419,1795638759597472,1795638759598775,'success',0,'',1200,13606912,'','','','');
INSERT INTO "runs" VALUES(39,'by-boot',1795638761676219,'schedule',1,'ended',1795638761993121,1795638762086477,1795638762087820,'success',0,'',1165,13594624,'','','','');
INSERT INTO "runs" VALUES(40,'by-boot',1795638765212290,'schedule',1,'ended',1795638766841500,1795638766887834,1795638766887963,'success',0,'',1341,13627392,'','','','');
INSERT INTO "runs" VALUES(41,'waits',1795638767010174,'manual',1,'running',1795638767010174,1795638767010174,0,'',NULL,'',0,0,'','','','');
INSERT INTO "runs" VALUES(42,'waits',1795638767019584,'manual',1,'queued',1795638767019584,0,0,'',NULL,'',0,0,'','','','');
INSERT INTO "runs" VALUES(43,'waits',1795638767021960,'manual',1,'queued',1795638767021960,0,0,'',NULL,'',0,0,'','','','');
CREATE INDEX runs_by_job ON runs (job, seq);
CREATE INDEX runs_open ON runs (state) WHERE state != 'ended';
CREATE UNIQUE INDEX runs_once ON runs (job, due, attempt) WHERE cause IN ('schedule', 'missed');
CREATE INDEX decisions_by_job ON decisions (job, id);
COMMIT;
PRAGMA user_version=3;
