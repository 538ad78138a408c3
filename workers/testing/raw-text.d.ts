/** A file as text, by Vite's suffix. */
declare module "*?raw" {
  const text: string;
  export default text;
}
