export const markdown = (figures: unknown, _: string): string => JSON.stringify(figures, null, 2);
