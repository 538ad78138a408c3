CREATE TABLE `segment_topics` (
	`shard_count` integer NOT NULL,
	`shard` integer NOT NULL,
	`root` text NOT NULL,
	`part` integer NOT NULL,
	`packed` blob NOT NULL,
	PRIMARY KEY(`shard_count`, `shard`, `root`, `part`)
);
--> statement-breakpoint
CREATE TABLE `segments` (
	`shard_count` integer NOT NULL,
	`shard` integer NOT NULL,
	`root` text NOT NULL,
	`class` integer NOT NULL,
	`from_slot` integer NOT NULL,
	`to_slot` integer NOT NULL,
	`least_seq` text NOT NULL,
	`greatest_seq` text NOT NULL,
	`first_bucket` integer NOT NULL,
	`last_bucket` integer NOT NULL,
	`count` integer NOT NULL,
	`topics` integer NOT NULL,
	`blocks_bytes` integer NOT NULL,
	`blocks_digest` text NOT NULL,
	`messages_bytes` integer,
	`messages_digest` text,
	`state` text NOT NULL,
	`created_ms` integer NOT NULL,
	PRIMARY KEY(`shard_count`, `shard`, `root`)
);
