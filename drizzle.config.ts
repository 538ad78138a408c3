import { defineConfig } from "drizzle-kit";

export default defineConfig({
  dialect: "sqlite",
  schema: "./durable-objects/d1-schema.ts",
  out: "./migrations",
});
